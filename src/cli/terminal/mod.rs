//! What fits a terminal: its width, folded text and tables, and numbers for people.

mod fold;
mod table;
mod units;

use std::{
    io::{self, IsTerminal},
    os::fd::AsFd,
};

pub use fold::{fold, shorten, text_width};
pub use table::{Row, Table};
pub use units::{bytes, duration};

/// Of a terminal that doesn't tell its width.
const DEFAULT_WIDTH: usize = 80;
/// Narrower terminals get lines of this width.
const MIN_WIDTH: usize = 40;

/// The width of the terminal that standard output is; none if it is none: then no line is folded.
pub fn stdout_width() -> Option<usize> {
    width(&io::stdout())
}

/// The width of the terminal that standard error is; none if it is none.
pub fn stderr_width() -> Option<usize> {
    width(&io::stderr())
}

fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    stream.is_terminal().then(|| match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 => MIN_WIDTH.max(size.ws_col.into()),
        _ => DEFAULT_WIDTH,
    })
}
