//! Images and schedules from a seed.

use demo::{Format, Image, Layer};
use fastrand::Rng;

use super::{
    case::{Case, Named},
    world::{SILENT, SOURCES},
};
use crate::support::{
    Access,
    faulty::{Challenge, Fault, Kind, Location, Planned, Redirect, RetryAfter},
};

/// So many images share a layer.
const SHARING: usize = 4;
/// Of so many seeds one has a host that never answers: its images cost seconds each.
const SILENT_EACH: u64 = 3;
/// Nearly all images overcome so many faults that pass.
pub const FEW: usize = 3;

/// How the target knows its users, and what is to be copied there.
pub fn cases(seed: u64, count: usize) -> (Access, Vec<Case>) {
    let mut random = Rng::with_seed(seed);
    let access = SOURCES[random.usize(..SOURCES.len())];
    let mut base = layer(&mut random);
    let cases = (0..count).map(|number| {
        if number % SHARING == 0 {
            base = layer(&mut random);
        }
        case(&mut random, &format!("s{seed}/c{number}"), &base)
    });
    let cases = cases.collect();
    (access, cases)
}

/// What stands beside the [`cases`] of a seed, which they leave as they are: bad neighbours, and who must not suffer from
/// them.
pub fn neighbours(seed: u64) -> Vec<Case> {
    let mut random = Rng::with_seed(!seed);
    let mut cases = Vec::new();
    let mut add = |random: &mut Rng, kind: &str, count: usize| {
        let first = cases.len();
        for number in 0..count {
            let base = layer(random);
            let mut case = Case::new(&format!("s{seed}/{kind}{number}"), image(random, &base));
            case.source = random.usize(..SOURCES.len());
            cases.push(case);
        }
        first
    };
    // Each waits for as long as a transfer may be slow.
    let dripping = add(&mut random, "drips", 2);
    let challenged = add(&mut random, "challenged", 3);
    let silent = add(&mut random, "silent", if seed.is_multiple_of(SILENT_EACH) { 8 } else { 0 });
    add(&mut random, "healthy", 4);
    for case in &mut cases[dripping..challenged] {
        let at_target = random.bool();
        let at = kind(&mut random, at_target);
        let place = random.usize(..1_000_000);
        let has_body = matches!(at, Kind::Token | Kind::ManifestGet | Kind::BlobGet);
        let fault = if has_body && random.bool() { Fault::Drip(place) } else { Fault::DripHead(place) };
        let planned = Planned::once(at, random.usize(..most(at)), fault);
        if at_target { case.at_target.push(planned) } else { case.at_source.push(planned) }
    }
    for case in &mut cases[challenged..silent] {
        let at_target = random.bool();
        let fault = [Challenge::OtherService, Challenge::OtherRealm].map(Fault::Unauthorized)[random.usize(..2)];
        let mut at = kind(&mut random, at_target);
        while at == Kind::Token {
            at = kind(&mut random, at_target);
        }
        let after = random.usize(..most(at));
        let planned = if random.bool() { Planned::once(at, after, fault) } else { Planned::staying(at, after, fault) };
        if at_target { case.at_target.push(planned) } else { case.at_source.push(planned) }
    }
    for case in &mut cases[silent..] {
        if case.repository.contains("silent") {
            case.source = SILENT;
        }
    }
    cases
}

fn case(random: &mut Rng, repository: &str, base: &Layer) -> Case {
    let mut case = Case::new(repository, image(random, base));
    case.named = match random.u8(..10) {
        0 => Named::Digest,
        1 => Named::Both,
        _ => Named::Tag,
    };
    case.source = random.usize(..SOURCES.len());
    case.lax = random.u8(..10) < 3;
    let (count, staying) = match random.u8(..10) {
        0..7 => (random.usize(1..=FEW), 0),
        7 => (random.usize(FEW + 1..=12), 0),
        _ => (random.usize(0..=FEW), random.usize(1..=2)),
    };
    for number in 0..count + staying {
        let at_target = random.bool();
        let at = kind(random, at_target);
        let after = random.usize(..most(at));
        let planned = if number >= count {
            Planned::staying(at, after, staying_fault(random, at, case.lax))
        } else if count > FEW && number == 0 {
            Planned::storm(at, after, random.usize(2..=6), status(random))
        } else {
            Planned::once(at, after, passing(random, at, case.lax))
        };
        if at_target { case.at_target.push(planned) } else { case.at_source.push(planned) }
    }
    case
}

fn image(random: &mut Rng, base: &Layer) -> Image {
    let format = if random.bool() { Format::Oci } else { Format::Docker };
    let single = |random: &mut Rng, architecture| {
        let mut layers = vec![base.clone()];
        layers.extend((0..random.usize(..3)).map(|_| layer(random)));
        Image::single(format, architecture, &layers)
    };
    if random.u8(..3) > 0 {
        let mut image = single(random, "amd64");
        // Two equal images in one batch would say little of either.
        while image.blobs().len() < 2 {
            image = single(random, "amd64");
        }
        return image;
    }
    let images = ["amd64", "arm64"].map(|architecture| single(random, architecture));
    Image::index(format, &images)
}

fn layer(random: &mut Rng) -> Layer {
    let seed = random.u64(..);
    match random.u8(..40) {
        0 => Layer::random(seed, random.usize(100_000..400_000)),
        1..10 => Layer::random(seed, random.usize(1..20_000)),
        _ => Layer::files(&[("content", &seed.to_string())]),
    }
    .unwrap()
}

fn kind(random: &mut Rng, at_target: bool) -> Kind {
    let kinds: &[Kind] = if at_target {
        &[
            Kind::Token,
            Kind::ManifestHead,
            Kind::ManifestPut,
            Kind::ManifestPut,
            Kind::BlobHead,
            Kind::UploadPost,
            Kind::UploadPut,
            Kind::UploadPut,
        ]
    } else {
        &[Kind::Token, Kind::ManifestHead, Kind::ManifestGet, Kind::ManifestGet, Kind::BlobGet, Kind::BlobGet]
    };
    kinds[random.usize(..kinds.len())]
}

/// More requests of a kind than this are rare.
fn most(kind: Kind) -> usize {
    match kind {
        Kind::Token => 2,
        Kind::ManifestHead | Kind::ManifestGet | Kind::ManifestPut => 3,
        Kind::BlobHead | Kind::BlobGet | Kind::UploadPost | Kind::UploadPut => 5,
    }
}

/// A fault that another try overcomes. A lax target is told no lies: nobody can find them out.
pub fn passing(random: &mut Rng, at: Kind, lax: bool) -> Fault {
    let place = random.usize(..1_000_000);
    let mut faults = vec![
        status(random),
        status(random),
        status(random),
        Fault::CutHead(place),
        Fault::CutHead(place),
        Fault::Html,
        Fault::Slow,
    ];
    // Each costs a second.
    if random.u8(..4) == 0 {
        faults.push(Fault::Hang);
    }
    if at != Kind::Token {
        faults.extend([Challenge::None, Challenge::Renew, Challenge::DeadRealm].map(Fault::Unauthorized));
    }
    let reading = [
        Fault::NoDigest,
        Fault::WrongDigest,
        Fault::TooMuchSaid(place % 1000),
        Fault::TooLittleSaid(place % 1000),
        Fault::Unsaid,
        Fault::SaidGzip,
        Fault::Redirect(Redirect::Elsewhere),
        Fault::Redirect(Redirect::Nowhere),
    ];
    let body = [
        Fault::Cut(place),
        Fault::Cut(place),
        Fault::Short(place),
        Fault::Long(place % 1000),
        Fault::Flip(place),
        Fault::Chunked,
        Fault::Gzip,
    ];
    let lost = [Fault::Lost, Fault::LostPart(place)];
    match at {
        Kind::Token => {
            faults.extend(body);
            faults.extend([Fault::EmptyToken, Fault::BadToken, Fault::ShortToken, Fault::TooMuchSaid(place)]);
        }
        Kind::ManifestHead | Kind::BlobHead => faults.extend(reading),
        Kind::ManifestGet => {
            faults.extend(reading);
            faults.extend(body);
        }
        Kind::BlobGet => {
            faults.extend(reading);
            faults.extend(body);
            faults.extend([Fault::WholeForRange, Fault::OtherRange, Fault::NoRange]);
            if random.u8(..4) == 0 {
                faults.push(Fault::Stall(place));
            }
        }
        Kind::ManifestPut => {
            faults.extend([Fault::CutRequest(place), Fault::Early(503), Fault::WrongDigest, Fault::NoDigest]);
            faults.extend([Fault::Success(200), Fault::Success(202)]);
            faults.extend(lost.into_iter().filter(|_| !lax));
        }
        Kind::UploadPost => {
            faults.extend(
                [Location::Relative, Location::Query, Location::Elsewhere, Location::Absent, Location::Nonsense]
                    .map(Fault::Location),
            );
            faults.extend([Fault::Success(201), Fault::NoMount]);
            faults.extend([Fault::LostMount].into_iter().filter(|_| !lax));
        }
        Kind::UploadPut => {
            faults.extend([Fault::CutRequest(place), Fault::CutRequest(place), Fault::Early(503), Fault::SessionGone]);
            faults.extend([Fault::WrongDigest, Fault::NoDigest, Fault::Success(202)]);
            faults.extend([Fault::Lost].into_iter().filter(|_| !lax));
        }
    }
    faults[random.usize(..faults.len())]
}

/// A fault that may end a copy.
pub fn staying_fault(random: &mut Rng, at: Kind, lax: bool) -> Fault {
    match random.u8(..6) {
        0 | 1 => Fault::Gone,
        2 => Fault::Status([400, 401, 403, 404, 405, 413][random.usize(..6)], RetryAfter::Unsaid),
        3 => Fault::Redirect(Redirect::Loop),
        _ => match passing(random, at, lax) {
            // Each costs a second, five times over.
            Fault::Hang | Fault::Stall(_) if random.u8(..4) > 0 => Fault::Gone,
            other => other,
        },
    }
}

fn status(random: &mut Rng) -> Fault {
    let status = [408, 429, 429, 500, 502, 503, 503, 504][random.usize(..8)];
    let after = match random.u8(..12) {
        0 => RetryAfter::Date,
        1 => RetryAfter::Seconds(1),
        2 => RetryAfter::Seconds(0),
        _ => RetryAfter::Unsaid,
    };
    Fault::Status(status, after)
}
