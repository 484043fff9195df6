//! The compression, on valid and on damaged input.

use std::sync::Arc;

use transport_kit::framed::Compression;
use transport_ws::Zstd;
use verification::fuzz::{self, Damage};

#[test]
fn decompression_keeps_its_limit_and_restores_every_input() {
    let zstd: Arc<dyn Compression> = Arc::new(Zstd);
    let text = b"four times smaller, ".repeat(100);
    let small = Zstd.compress(&text).unwrap_or_default();
    let bomb = Zstd.compress(&vec![0; 64 << 20]).unwrap_or_default();
    let good: [&[u8]; 4] = [&text, &small, &bomb, b"short"];
    good.iter().for_each(|bytes| fuzz::compression(&zstd, bytes));
    Damage::new(1, &good).take(5_000).for_each(|bytes| fuzz::compression(&zstd, &bytes));
}
