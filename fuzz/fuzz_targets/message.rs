#![no_main]

twotide_fuzz::target!(verification::fuzz::message);
