#![no_main]

twotide_fuzz::target!(testkit::fuzz::name);
