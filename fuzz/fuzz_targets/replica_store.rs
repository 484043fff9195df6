#![no_main]

twotide_fuzz::target!(verification::fuzz::replica_store);
