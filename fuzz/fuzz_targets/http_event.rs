#![no_main]

#[path = "../../transport-http/tests/support/checks.rs"]
#[allow(dead_code, reason = "each target is about one of the checks")]
mod checks;

twotide_fuzz::target!(checks::event);
