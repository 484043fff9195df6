#![no_main]

use std::sync::Arc;

use transport_kit::framed::Compression;
use transport_ws::Zstd;

twotide_fuzz::target!(|bytes: &[u8]| {
    let zstd: Arc<dyn Compression> = Arc::new(Zstd);
    verification::fuzz::compression(&zstd, bytes);
});
