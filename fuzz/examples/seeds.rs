//! Writes valid input for every target into `corpus/`, as the initial corpus of libFuzzer.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`

use std::fs;
use std::io;
use std::path::Path;

use verification::fuzz::{CHECKS, frames_of_links, golden};

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn main() -> io::Result<()> {
    for target in CHECKS {
        for (at, bytes) in (target.samples)().iter().enumerate() {
            write(target.name, &format!("sample-{at}"), bytes)?;
        }
    }
    for (at, bytes) in frames_of_links().iter().enumerate() {
        write("server_link", &format!("sample-{at}"), bytes)?;
        write("client_link", &format!("sample-{at}"), bytes)?;
    }
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors");
    for (name, bytes) in golden(&vectors)? {
        let target = if name.starts_with("frame") { "frame" } else { "message" };
        write(target, &name, &bytes)?;
    }
    Ok(())
}
