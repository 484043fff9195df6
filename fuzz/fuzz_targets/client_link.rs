#![no_main]

twotide_fuzz::target!(|bytes: &[u8]| twotide_fuzz::paused(verification::fuzz::client_link(bytes)));
