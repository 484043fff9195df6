//! Notes that work offline, and are live on every device when there is a network.
//!
//! Try it in two terminals:
//!
//! ```sh
//! cargo run -p offline-notes -- --db a.db --serve
//! cargo run -p offline-notes -- --db b.db --server ws://127.0.0.1:8787
//! ```

#![forbid(unsafe_code)]

mod app;
mod command;
mod notes;
mod screen;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::app::App;
use crate::notes::Notes;
use crate::screen::Screen;
use crate::serve::Serving;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Notes that work offline, and are live on every device when there is a network.
#[derive(Debug, Parser)]
struct Args {
    /// The file of the notes; it is created if it does not exist
    #[arg(long, value_name = "FILE")]
    db: PathBuf,
    /// The server to sync with, such as ws://127.0.0.1:8787
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Run the server, too, for trying the app out [default address: 127.0.0.1:8787]
    ///
    /// It has no tokens, so it serves only this machine. Its data is kept beside the notes.
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:8787",
        conflicts_with = "server"
    )]
    serve: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("offline-notes: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Returns the text of an error, and of each of its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

async fn run(args: Args) -> Outcome<()> {
    let screen = Screen::new();
    let serving = match args.serve {
        Some(address) => Some(Serving::start(address, &args.db.with_extension("server.db")).await?),
        None => None,
    };
    let server = args.server.or_else(|| serving.as_ref().map(|s| s.url.clone()));
    if let Some(serving) = &serving {
        screen.say(format_args!("serving {}", serving.url))?;
    }
    let notes = Notes::open(args.db, server.as_deref()).await?;
    App::new(notes, screen, server).run().await?;
    match serving {
        Some(serving) => Ok(serving.stop().await?),
        None => Ok(()),
    }
}
