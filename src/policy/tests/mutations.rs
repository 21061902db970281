//! Random mutations of valid and hostile components: each is rejected with one line, or fails within its limits. Runs
//! in this process, so that a stack overflow fails the test.

use std::{env, fs, path::Path, time::Instant};

use super::super::fuzzing::{LoadOutcome, Loader};
use super::*;

/// `COMPONENT_MUTATIONS=1000000` for more, `MUTATION_SEED` for others.
const RUNS: u64 = 500;
/// In bytes.
const MAX_MESSAGE: usize = 1500;
/// For a module of some kilobytes, on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn rejects_mutated_components_with_one_line_or_fails_within_the_limits() {
    let number = |name: &str, default: u64| env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let (runs, seed) = (number("COMPONENT_MUTATIONS", RUNS), number("MUTATION_SEED", 1));
    let folder = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("fuzz/seeds/component");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() > 20);
    let loader = Loader::new().unwrap();
    let [mut rejected, mut failed, mut answered] = [0_u64; 3];
    for run in 0..runs {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1 << 32).wrapping_add(run));
        let bytes = mutated(&seeds, &mut random);
        let start = Instant::now();
        let message = match loader.load(&bytes) {
            LoadOutcome::Rejected(error) => {
                rejected += 1;
                error.to_string()
            }
            LoadOutcome::Failed(error) => {
                failed += 1;
                error.to_string()
            }
            LoadOutcome::Answered => {
                answered += 1;
                continue;
            }
        };
        assert!(start.elapsed() < DEADLINE, "run {run} of seed {seed}: {:?}", start.elapsed());
        assert!(message.lines().count() == 1 && message.len() < MAX_MESSAGE, "run {run} of seed {seed}: {message}");
    }
    println!("{runs} runs of seed {seed}: {rejected} rejected, {failed} failed, {answered} answered");
    assert!(runs < RUNS || (rejected > 0 && answered > 0), "the mutations are too strong, or too weak");
}

/// A seed with one or more changes, each of any bytes, or within one section whose length is then corrected.
fn mutated(seeds: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..[1, 1, 1, 2, 4][random.usize(..5)] {
        let other = &seeds[random.usize(..seeds.len())];
        bytes = if random.u8(..4) == 0 { change(&bytes, other, random) } else { in_section(&bytes, other, random) };
    }
    bytes
}

fn change(bytes: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let place = |bytes: &[u8], random: &mut fastrand::Rng| {
        let start = random.usize(..=bytes.len());
        start..(start + random.usize(..32)).min(bytes.len())
    };
    let range = place(&bytes, random);
    match random.u8(..6) {
        0 | 1 if range.start < bytes.len() => bytes[range.start] ^= 1 << random.u8(..8),
        2 if range.start < bytes.len() => bytes[range.start] = [0, 1, 0x7f, 0x80, 0xff, 0x0b][random.usize(..6)],
        3 => drop(bytes.splice(range, [])),
        4 => {
            let copied = bytes[range.clone()].repeat(random.usize(1..200));
            drop(bytes.splice(range, copied));
        }
        _ => {
            let copied = other[place(other, random)].to_vec();
            drop(bytes.splice(range, copied));
        }
    }
    bytes
}

/// Changes one section of a module or component, or of one that is nested in it.
fn in_section(bytes: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let Some((head, mut sections)) = sections(bytes) else { return change(bytes, other, random) };
    if sections.is_empty() {
        return change(bytes, other, random);
    }
    let index = random.usize(..sections.len());
    match random.u8(..10) {
        0 => drop(sections.remove(index)),
        1 => sections.insert(index, sections[random.usize(..sections.len())].clone()),
        _ => sections[index].1 = in_section(&sections[index].1, other, random),
    }
    let mut bytes = head.to_vec();
    for (id, content) in sections {
        bytes.push(id);
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap());
        bytes.extend(content);
    }
    bytes
}

/// The number and the content of a section.
type Section = (u8, Vec<u8>);

/// The header and the sections. None: neither a module nor a component.
fn sections(bytes: &[u8]) -> Option<(&[u8], Vec<Section>)> {
    let (head, mut rest) = bytes.split_at_checked(8).filter(|(head, _)| head.starts_with(b"\0asm"))?;
    let mut sections = Vec::new();
    while let Some((id, mut content)) = rest.split_first() {
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21] {
            let (byte, after) = content.split_first()?;
            content = after;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (content, after) = content.split_at_checked(length)?;
        sections.push((*id, content.to_vec()));
        rest = after;
    }
    Some((head, sections))
}
