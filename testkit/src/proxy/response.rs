//! Finds the ends of HTTP/1.1 responses, as far as a gateway that collects them needs them.

/// A longer head is taken for a protocol other than HTTP.
const HEAD: usize = 64 << 10;

#[derive(Debug)]
enum State {
    /// Collects a head.
    Head(Vec<u8>),
    /// How many bytes of a body are left.
    Body(u64),
    /// The line with a chunk's length.
    ChunkSize(Vec<u8>),
    /// How many bytes of a chunk and its line end are left.
    Chunk(u64),
    /// Lines after the last chunk.
    Trailer(Vec<u8>),
    /// A body that ends with the connection.
    Endless,
    /// Not HTTP: everything passes.
    Foreign,
}

/// Follows the responses of one connection.
#[derive(Debug)]
pub(super) struct Responses {
    state: State,
    seen: u64,
    complete: u64,
}

impl Default for Responses {
    fn default() -> Self {
        Self { state: State::Head(Vec::new()), seen: 0, complete: 0 }
    }
}

impl Responses {
    /// Returns how many bytes from the beginning belong to complete responses.
    pub(super) fn complete_at(&self) -> u64 {
        self.complete
    }

    /// Reads bytes of the server.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            let skip = match &mut self.state {
                State::Body(left) | State::Chunk(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= n as u64;
                    n
                }
                State::Endless | State::Foreign => bytes.len(),
                State::Head(line) | State::ChunkSize(line) | State::Trailer(line) => {
                    line.push(*first);
                    1
                }
            };
            bytes = if skip == 1 { rest } else { &bytes[skip..] };
            self.seen += skip as u64;
            self.step();
        }
    }

    fn step(&mut self) {
        let next = match &self.state {
            State::Head(head) if head.ends_with(b"\r\n\r\n") => after_head(head),
            State::Head(head) if head.len() > HEAD || !is_http(head) => State::Foreign,
            State::ChunkSize(line) if line.ends_with(b"\r\n") => match chunk_size(line) {
                Some(0) => State::Trailer(Vec::new()),
                Some(n) => State::Chunk(n.saturating_add(2)),
                None => State::Foreign,
            },
            State::Trailer(line) if line == b"\r\n" => State::Head(Vec::new()),
            State::Trailer(line) if line.ends_with(b"\r\n") => State::Trailer(Vec::new()),
            State::ChunkSize(line) | State::Trailer(line) if line.len() > HEAD => State::Foreign,
            State::Chunk(0) => State::ChunkSize(Vec::new()),
            State::Body(0) => State::Head(Vec::new()),
            State::Foreign => return self.complete = self.seen,
            _ => return,
        };
        let is_complete = matches!(&next, State::Head(_) | State::Body(0) | State::Foreign);
        self.state = if matches!(next, State::Body(0)) { State::Head(Vec::new()) } else { next };
        if is_complete {
            self.complete = self.seen;
        }
    }
}

fn is_http(head: &[u8]) -> bool {
    let start = b"HTTP/1.";
    let n = head.len().min(start.len());
    head[..n] == start[..n]
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    u64::from_str_radix(text.split(';').next()?.trim(), 16).ok()
}

/// Returns the state after a complete head.
fn after_head(head: &[u8]) -> State {
    let Ok(text) = std::str::from_utf8(head) else { return State::Foreign };
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse::<u16>().ok());
    match status {
        // From here on the connection speaks another protocol.
        None | Some(101) => return State::Foreign,
        Some(100..=199 | 204 | 304) => return State::Body(0),
        Some(_) => {}
    }
    let header = |name: &str| {
        let of = |line: &str| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
        };
        text.split("\r\n").find_map(of)
    };
    if header("transfer-encoding").is_some_and(|t| t.contains("chunked")) {
        return State::ChunkSize(Vec::new());
    }
    header("content-length").and_then(|n| n.parse().ok()).map_or(State::Endless, State::Body)
}
