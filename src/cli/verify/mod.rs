//! `verify`: looks whether the targets have everything of every image; changes nothing.

mod args;
mod document;
mod junit;
mod not_read;
mod progress_file;
mod text;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;

use super::{
    CommandError, build, collect,
    signals::{Signal, Signals},
    terminal,
};
use crate::{
    config::Config,
    mirror::{DeepReading, DesiredImage, NotRead, ReadBlobs, SourceQuestions, Verifier},
    model::{Verdict, VerifiedImage, Wholeness, printable},
};

pub use args::{VerifyArgs, VerifyFormat};
pub use progress_file::ProgressFileError;

/// Between two writes of the progress.
const PAUSE_BETWEEN_NOTES: Duration = Duration::from_secs(2);

/// An image that can't be verified, because the policy has no decision.
pub struct UndecidedUse {
    pub image: String,
    pub workload: String,
    pub reason: String,
}

/// Everything that a verification found.
pub struct Verified {
    pub images: Vec<VerifiedImage>,
    pub undecided: Vec<UndecidedUse>,
    /// What the budget of bytes was too small for.
    pub not_read: NotRead,
}

impl Verified {
    fn count(&self, wholeness: Wholeness) -> usize {
        self.images.iter().filter(|image| image.wholeness == wholeness).count()
    }
}

/// Verifies the images in the cluster or in manifest files. Exit code 1 if there is something to fail on.
pub async fn verify(config: &Config, args: &VerifyArgs, signals: &Signals) -> Result<ExitCode, CommandError> {
    let read = match &args.progress {
        Some(file) => progress_file::read(file)?,
        None => Default::default(),
    };
    // Told before anything is read, which may take hours.
    if let Some(file) = &args.progress {
        progress_file::write(file, &read)?;
    }
    let prepared = signals.interruptible(prepare(config, args, read)).await;
    let Prepared { verifier, desired, undecided } = match prepared {
        Ok(prepared) => prepared?,
        Err(signal) => return Ok(interrupted(signal, args, 0)),
    };
    let progress = Progress::new(desired.len());
    let verifying = async {
        let images = verifier.verify(desired, |image| progress.verified(image));
        match args.progress.as_deref().zip(verifier.deep()) {
            Some((file, deep)) => {
                tokio::select! {
                    images = images => Ok(images),
                    error = note_progress(file, deep) => Err(error),
                }
            }
            None => Ok(images.await),
        }
    };
    let images = signals.interruptible(verifying).await;
    progress.finish();
    let images = match images {
        Ok(images) => images?,
        Err(signal) => {
            if let Some((file, deep)) = args.progress.as_deref().zip(verifier.deep()) {
                progress_file::write(file, &deep.read_blobs())?;
            }
            return Ok(interrupted(signal, args, progress.done()));
        }
    };
    let not_read = verifier.deep().map(DeepReading::not_read).unwrap_or_default();
    if let Some((file, deep)) = args.progress.as_deref().zip(verifier.deep()) {
        // What was read is to be read again once everything was that this budget allows.
        let read = if not_read.is_continued() { deep.read_blobs() } else { ReadBlobs::default() };
        progress_file::write(file, &read)?;
    }
    let verified = Verified { images, undecided, not_read };
    print(&verified, args.output)?;
    let fails = |wholeness| args.fail_on().contains(&wholeness) && verified.count(wholeness) > 0;
    let fails = Wholeness::ALL.into_iter().any(fails) || !verified.undecided.is_empty();
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is verified, and how.
struct Prepared {
    verifier: Verifier,
    desired: Vec<DesiredImage>,
    undecided: Vec<UndecidedUse>,
}

async fn prepare(config: &Config, args: &VerifyArgs, read: ReadBlobs) -> Result<Prepared, CommandError> {
    let (policy, _) = build::policy(config, Arc::new(())).await?;
    let (uses, client) = collect::image_uses_and_client(config, &args.files).await?;
    let decisions = policy.decide(uses.clone()).await;
    let mut desired = Vec::new();
    let mut undecided = Vec::new();
    for (image_use, decision) in uses.into_iter().zip(decisions) {
        match decision.verdict {
            Verdict::Mirror { source, destinations } => desired.push(DesiredImage { image_use, source, destinations }),
            Verdict::Error { reason, .. } => undecided.push(UndecidedUse {
                image: image_use.image,
                workload: image_use.workload.id.to_string(),
                reason,
            }),
            Verdict::Skip(_) => {}
        }
    }
    let questions = if args.no_source { SourceQuestions::Nothing } else { SourceQuestions::All };
    let deep = args.deep.then(|| DeepReading::new(args.bytes, args.rate, read));
    let pull_secrets = client.and_then(|client| build::pull_secrets(config, &client));
    let verifier = build::verifier(config, questions, deep, pull_secrets)?;
    Ok(Prepared { verifier, desired, undecided })
}

/// Writes the progress again and again, until that fails: a verification that is killed continues from there.
async fn note_progress(file: &Path, deep: &DeepReading) -> ProgressFileError {
    let mut noted = deep.read_count();
    loop {
        sleep(PAUSE_BETWEEN_NOTES).await;
        let read = deep.read_count();
        if read == noted {
            continue;
        }
        noted = read;
        // Not in another thread: it could still be writing when the last progress is written.
        if let Err(error) = progress_file::write(file, &deep.read_blobs()) {
            return error;
        }
    }
}

fn interrupted(signal: Signal, args: &VerifyArgs, done: usize) -> ExitCode {
    let progress = args
        .progress
        .as_ref()
        .map_or_else(String::new, |file| format!("; --progress {} continues", printable(&file.to_string_lossy())));
    // Ctrl-C also ends the reader of the output: a closed pipe is not a failure.
    let _ = writeln!(io::stderr(), "interrupted by {} after {done} verified images{progress}", signal.name());
    signal.code()
}

fn print(verified: &Verified, output: VerifyFormat) -> Result<(), CommandError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match output {
        VerifyFormat::Text => text::write(&mut out, verified, terminal::stdout_width()),
        VerifyFormat::Json => document::write(&mut out, verified),
        VerifyFormat::Junit => junit::write(&mut out, verified),
    };
    match written.and_then(|()| out.flush()) {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

/// How many images are verified, on a terminal.
struct Progress {
    total: usize,
    done: std::sync::atomic::AtomicUsize,
    is_shown: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, done: 0.into(), is_shown: io::stderr().is_terminal() }
    }

    fn verified(&self, _: &VerifiedImage) {
        let done = self.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if self.is_shown {
            // A closed standard error is not a failure.
            let _ = write!(io::stderr(), "\r{done} images verified, of at most {}\u{1b}[K", self.total);
        }
    }

    fn done(&self) -> usize {
        self.done.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn finish(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
