//! Random images and fault schedules.

use demo::{Format, Image, Layer};
use fastrand::Rng;

use super::{
    case::{Case, ReferenceForm},
    environment::{SILENT_SOURCE, SOURCES},
};
use crate::support::{
    Access,
    faulty::{Challenge, Damage, Fault, Location, Redirect, RequestKind, RetryAfter, ScheduledFault},
};

/// One of so many images has a signature.
const SIGNED_EVERY: usize = 2;
/// How many images share a layer.
const SHARING: usize = 4;
/// One of so many seeds uses the silent host, because its images cost seconds each.
const SILENT_HOST_EVERY: u64 = 3;
/// Nearly all copies recover from so many transient faults.
pub const FEW: usize = 3;

/// The authentication of the target, and the images to copy.
pub fn cases(seed: u64, count: usize) -> (Access, Vec<Case>) {
    let mut random = Rng::with_seed(seed);
    let access = SOURCES[random.usize(..SOURCES.len())];
    let mut base = layer(&mut random);
    let cases = (0..count).map(|number| {
        if number % SHARING == 0 {
            base = layer(&mut random);
        }
        let case = case(&mut random, &format!("s{seed}/c{number}"), &base);
        if number % SIGNED_EVERY == 0 { case.signed() } else { case }
    });
    let cases = cases.collect();
    (access, cases)
}

/// More cases beside the [`cases`] of a seed: misbehaving hosts, and healthy images that they must not affect.
pub fn extra_cases(seed: u64) -> Vec<Case> {
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
    // Few: each takes as long as a transfer may be slow.
    let trickling = add(&mut random, "trickles", 2);
    let challenged = add(&mut random, "challenged", 3);
    let silent = add(&mut random, "silent", if seed.is_multiple_of(SILENT_HOST_EVERY) { 8 } else { 0 });
    add(&mut random, "healthy", 4);
    for case in &mut cases[trickling..challenged] {
        let at_target = random.bool();
        let at = kind(&mut random, at_target);
        let place = random.usize(..1_000_000);
        let has_body = matches!(at, RequestKind::Token | RequestKind::ManifestGet | RequestKind::BlobGet);
        let fault = if has_body && random.bool() { Fault::TrickleBody(place) } else { Fault::TrickleHead(place) };
        let scheduled = ScheduledFault::once(at, random.usize(..max_requests(at)), fault);
        if at_target { case.target_faults.push(scheduled) } else { case.source_faults.push(scheduled) }
    }
    for case in &mut cases[challenged..silent] {
        let at_target = random.bool();
        let fault = [Challenge::ChangingService, Challenge::ChangingRealm].map(Fault::Unauthorized)[random.usize(..2)];
        let mut at = kind(&mut random, at_target);
        while at == RequestKind::Token {
            at = kind(&mut random, at_target);
        }
        let after = random.usize(..max_requests(at));
        let scheduled = if random.bool() {
            ScheduledFault::once(at, after, fault)
        } else {
            ScheduledFault::permanent(at, after, fault)
        };
        if at_target { case.target_faults.push(scheduled) } else { case.source_faults.push(scheduled) }
    }
    for case in &mut cases[silent..] {
        if case.repository.contains("silent") {
            case.source = SILENT_SOURCE;
        }
    }
    cases
}

/// The faults of a source that a verification asks.
pub fn source_faults(random: &mut Rng) -> Vec<ScheduledFault> {
    let kinds = [RequestKind::Token, RequestKind::ManifestHead];
    (0..random.usize(..=FEW)).map(|_| once(random, &kinds)).collect()
}

/// The faults of a target that a verification asks. A verification asks again: only what goes on hides damage.
pub fn target_faults(random: &mut Rng, is_damaged: bool) -> Vec<ScheduledFault> {
    if is_damaged && random.u8(..4) > 0 {
        let kinds = [RequestKind::ManifestGet, RequestKind::BlobHead, RequestKind::BlobHead, RequestKind::BlobGet];
        let at = kinds[random.usize(..kinds.len())];
        let after = if random.bool() { 0 } else { random.usize(..max_requests(at)) };
        return vec![ScheduledFault::permanent(at, after, quick_fault(random, at))];
    }
    let kinds = [
        RequestKind::Token,
        RequestKind::ManifestHead,
        RequestKind::ManifestGet,
        RequestKind::BlobHead,
        RequestKind::BlobGet,
    ];
    (0..random.usize(..=FEW)).map(|_| once(random, &kinds)).collect()
}

/// The faults of a further source.
pub fn further_faults(random: &mut Rng) -> Vec<ScheduledFault> {
    let kinds = [RequestKind::ManifestGet, RequestKind::BlobGet];
    let mut faults: Vec<_> = (0..random.usize(..=FEW)).map(|_| once(random, &kinds)).collect();
    if random.u8(..4) == 0 {
        let at = kinds[random.usize(..kinds.len())];
        faults.push(ScheduledFault::permanent(at, random.usize(..max_requests(at)), quick_fault(random, at)));
    }
    faults
}

fn once(random: &mut Rng, kinds: &[RequestKind]) -> ScheduledFault {
    let at = kinds[random.usize(..kinds.len())];
    ScheduledFault::once(at, random.usize(..max_requests(at)), transient_fault(random, at, false))
}

/// Each attempt of a slower one would cost a second.
fn quick_fault(random: &mut Rng, at: RequestKind) -> Fault {
    loop {
        match if random.u8(..4) == 0 { permanent_fault(random, at, false) } else { transient_fault(random, at, false) }
        {
            Fault::Hang | Fault::StallBody(_) | Fault::Slow => {}
            Fault::Status(_, RetryAfter::Date | RetryAfter::Seconds(_)) => {}
            quick => return quick,
        }
    }
}

/// Damage to the storage of one image: often none.
pub fn damages(random: &mut Rng) -> Vec<Damage> {
    let count = [0, 0, 0, 1, 1, 1, 2][random.usize(..7)];
    let damages = (0..count).map(|_| {
        let number = random.usize(..1000);
        match random.u8(..16) {
            0..4 => Damage::LoseBlob(number),
            4..6 => Damage::CutBlob(number),
            6..9 => Damage::FlipBlob(number),
            9..12 => Damage::LoseManifest(number),
            12 => Damage::CutManifest(number),
            13 => Damage::FlipManifest(number),
            14 => Damage::LoseTags,
            _ => Damage::LoseAll,
        }
    });
    damages.collect()
}

fn case(random: &mut Rng, repository: &str, base: &Layer) -> Case {
    let mut case = Case::new(repository, image(random, base));
    case.reference_form = match random.u8(..10) {
        0 => ReferenceForm::Digest,
        1 => ReferenceForm::Both,
        _ => ReferenceForm::Tag,
    };
    case.source = random.usize(..SOURCES.len());
    case.skips_validation = random.u8(..10) < 3;
    let (count, permanent) = match random.u8(..10) {
        0..7 => (random.usize(1..=FEW), 0),
        7 => (random.usize(FEW + 1..=12), 0),
        _ => (random.usize(0..=FEW), random.usize(1..=2)),
    };
    for number in 0..count + permanent {
        let at_target = random.bool();
        let at = kind(random, at_target);
        let after = random.usize(..max_requests(at));
        let scheduled = if number >= count {
            ScheduledFault::permanent(at, after, permanent_fault(random, at, case.skips_validation))
        } else if count > FEW && number == 0 {
            ScheduledFault::burst(at, after, random.usize(2..=6), status(random))
        } else {
            ScheduledFault::once(at, after, transient_fault(random, at, case.skips_validation))
        };
        if at_target { case.target_faults.push(scheduled) } else { case.source_faults.push(scheduled) }
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
        // Two equal images in one batch would hide each other's faults.
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

fn kind(random: &mut Rng, at_target: bool) -> RequestKind {
    let kinds: &[RequestKind] = if at_target {
        &[
            RequestKind::Token,
            RequestKind::ManifestHead,
            RequestKind::ManifestPut,
            RequestKind::ManifestPut,
            RequestKind::Referrers,
            RequestKind::BlobHead,
            RequestKind::UploadPost,
            RequestKind::UploadPut,
            RequestKind::UploadPut,
        ]
    } else {
        &[
            RequestKind::Token,
            RequestKind::ManifestHead,
            RequestKind::ManifestGet,
            RequestKind::ManifestGet,
            RequestKind::Referrers,
            RequestKind::BlobGet,
            RequestKind::BlobGet,
        ]
    };
    kinds[random.usize(..kinds.len())]
}

/// How many requests of a kind a copy usually makes.
fn max_requests(kind: RequestKind) -> usize {
    match kind {
        RequestKind::Token | RequestKind::Referrers => 2,
        RequestKind::ManifestHead | RequestKind::ManifestGet | RequestKind::ManifestPut => 3,
        RequestKind::BlobHead | RequestKind::BlobGet | RequestKind::UploadPost | RequestKind::UploadPut => 5,
    }
}

/// A fault that a retry overcomes. A target without validation does not lose content: no client could detect that.
pub fn transient_fault(random: &mut Rng, at: RequestKind, skips_validation: bool) -> Fault {
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
    // Few: each costs a second.
    if random.u8(..4) == 0 {
        faults.push(Fault::Hang);
    }
    if at != RequestKind::Token {
        faults.extend([Challenge::None, Challenge::Revoked, Challenge::UnreachableRealm].map(Fault::Unauthorized));
    }
    let reading = [
        Fault::NoDigest,
        Fault::WrongDigest,
        Fault::ContentLengthTooLarge(place % 1000),
        Fault::ContentLengthTooSmall(place % 1000),
        Fault::NoContentLength,
        Fault::FalseGzipHeader,
        Fault::Redirect(Redirect::OtherHost),
        Fault::Redirect(Redirect::DeadHost),
    ];
    let body = [
        Fault::CutBody(place),
        Fault::CutBody(place),
        Fault::ShortBody(place),
        Fault::LongBody(place % 1000),
        Fault::FlipBit(place),
        Fault::Chunked,
        Fault::Gzip,
    ];
    let lost = [Fault::NotStored, Fault::LoseContent(place)];
    match at {
        RequestKind::Token => {
            faults.extend(body);
            faults.extend([
                Fault::EmptyToken,
                Fault::InvalidToken,
                Fault::ShortLivedToken,
                Fault::ContentLengthTooLarge(place),
            ]);
        }
        RequestKind::Referrers => {}
        RequestKind::ManifestHead | RequestKind::BlobHead => faults.extend(reading),
        RequestKind::ManifestGet => {
            faults.extend(reading);
            faults.extend(body);
        }
        RequestKind::BlobGet => {
            faults.extend(reading);
            faults.extend(body);
            faults.extend([Fault::RangeIgnored, Fault::WrongRange, Fault::RangeRefused]);
            if random.u8(..4) == 0 {
                faults.push(Fault::StallBody(place));
            }
        }
        RequestKind::ManifestPut => {
            faults.extend([Fault::CutRequest(place), Fault::EarlyResponse(503), Fault::WrongDigest, Fault::NoDigest]);
            faults.extend([Fault::OtherSuccess(200), Fault::OtherSuccess(202)]);
            faults.extend(lost.into_iter().filter(|_| !skips_validation));
        }
        RequestKind::UploadPost => {
            faults.extend(
                [Location::Relative, Location::WithQuery, Location::OtherHost, Location::Absent, Location::InvalidUrl]
                    .map(Fault::Location),
            );
            faults.extend([Fault::OtherSuccess(201), Fault::MountDeclined]);
            faults.extend([Fault::MountLost].into_iter().filter(|_| !skips_validation));
        }
        RequestKind::UploadPut => {
            faults.extend([
                Fault::CutRequest(place),
                Fault::CutRequest(place),
                Fault::EarlyResponse(503),
                Fault::UploadUnknown,
            ]);
            faults.extend([Fault::WrongDigest, Fault::NoDigest, Fault::OtherSuccess(202)]);
            faults.extend([Fault::NotStored].into_iter().filter(|_| !skips_validation));
        }
    }
    faults[random.usize(..faults.len())]
}

/// A fault that may fail a copy.
pub fn permanent_fault(random: &mut Rng, at: RequestKind, skips_validation: bool) -> Fault {
    match random.u8(..6) {
        0 | 1 => Fault::NotFound,
        2 => Fault::Status([400, 401, 403, 404, 405, 413][random.usize(..6)], RetryAfter::Absent),
        3 => Fault::Redirect(Redirect::Loop),
        _ => match transient_fault(random, at, skips_validation) {
            // Few: each costs five seconds.
            Fault::Hang | Fault::StallBody(_) if random.u8(..4) > 0 => Fault::NotFound,
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
        _ => RetryAfter::Absent,
    };
    Fault::Status(status, after)
}
