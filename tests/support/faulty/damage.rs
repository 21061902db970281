//! Does to a right answer what a fault says.

use std::io::Write as _;

use super::{
    fault::Fault,
    http::{Answer, Delivery, End, Speed, within},
};

/// What is sent instead of `answer`. `bare` leaves the body out, as for a HEAD.
pub fn damaged(mut answer: Answer, bare: bool, fault: Fault) -> Delivery {
    let length = answer.body.len();
    match fault {
        Fault::CutHead(place) => {
            let mut delivery = answer.delivery(bare);
            let head = head_length(&delivery.bytes);
            delivery.bytes.truncate(within(place, head));
            Delivery { end: End::Close, ..delivery }
        }
        Fault::Cut(place) => broken(answer, bare, place, End::Close),
        Fault::Stall(place) => broken(answer, bare, place, End::Hang),
        Fault::Short(place) => {
            answer.body.truncate(within(place, length));
            answer.delivery(bare)
        }
        Fault::Long(more) => {
            let mut longer = answer.body.to_vec();
            longer.resize(length + more + 1, b' ');
            answer.body(longer).delivery(bare)
        }
        Fault::Flip(place) => {
            let mut flipped = answer.body.to_vec();
            if let Some(byte) = flipped.get_mut(within(place, length.saturating_sub(1))) {
                *byte ^= 1;
            }
            answer.body(flipped).delivery(bare)
        }
        Fault::TooMuchSaid(more) => said(answer, bare, length + more + 1, End::Close),
        Fault::TooLittleSaid(less) => said(answer, bare, length.saturating_sub(less + 1), End::Keep),
        Fault::Unsaid => {
            let mut bytes = answer.head();
            if !bare {
                bytes.extend_from_slice(&answer.body);
            }
            Delivery { bytes, speed: Speed::Whole, end: End::Close }
        }
        Fault::Chunked => {
            let answer = answer.header("Transfer-Encoding", "chunked");
            let mut bytes = answer.head();
            if !bare {
                for chunk in answer.body.chunks(100) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            Delivery { bytes, speed: Speed::Whole, end: End::Keep }
        }
        Fault::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&answer.body).unwrap();
            answer.body(gzip.finish().unwrap()).header("Content-Encoding", "gzip").delivery(bare)
        }
        Fault::SaidGzip => answer.header("Content-Encoding", "gzip").delivery(bare),
        Fault::WrongDigest => {
            let wrong = format!("sha256:{}", "0f".repeat(32));
            answer.without(DIGEST).header(DIGEST, wrong).delivery(bare)
        }
        Fault::NoDigest => answer.without(DIGEST).delivery(bare),
        Fault::Slow => {
            let delivery = answer.delivery(bare);
            Delivery { speed: Speed::Pieces(delivery.bytes.len().div_ceil(8)), ..delivery }
        }
        Fault::Drip(place) => {
            let delivery = answer.delivery(bare);
            let kept = if bare { 0 } else { length - within(place, length.saturating_sub(1)) };
            Delivery { speed: Speed::Drip(delivery.bytes.len() - kept), ..delivery }
        }
        Fault::DripHead(place) => {
            let delivery = answer.delivery(bare);
            Delivery { speed: Speed::Drip(within(place, head_length(&delivery.bytes))), ..delivery }
        }
        _ => answer.delivery(bare),
    }
}

/// The header in which registries tell what they have or took.
pub const DIGEST: &str = "Docker-Content-Digest";

/// Where an answer's head ends, but for the empty line.
fn head_length(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap()
}

fn broken(answer: Answer, bare: bool, place: usize, end: End) -> Delivery {
    let kept = if bare { 0 } else { answer.body.len() - within(place, answer.body.len().saturating_sub(1)) };
    let mut delivery = answer.delivery(bare);
    delivery.bytes.truncate(delivery.bytes.len() - kept);
    Delivery { end, ..delivery }
}

fn said(answer: Answer, bare: bool, length: usize, end: End) -> Delivery {
    let answer = answer.header("Content-Length", length);
    let mut bytes = answer.head();
    if !bare {
        bytes.extend_from_slice(&answer.body);
    }
    Delivery { bytes, speed: Speed::Whole, end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(fault: Fault) -> (String, End) {
        let delivery = damaged(Answer::new(200).header("Docker-Content-Digest", "d").body("0123456789"), false, fault);
        let text = String::from_utf8(delivery.bytes).unwrap();
        (text.replace("\r\n", "|"), delivery.end)
    }

    #[test]
    fn writes_each_fault_to_the_wire() {
        let head = "HTTP/1.1 200 Scripted|Docker-Content-Digest: d|";
        for (fault, rest, end) in [
            (Fault::Hang, "Content-Length: 10||0123456789", End::Keep),
            (Fault::Cut(0), "Content-Length: 10||", End::Close),
            (Fault::Cut(13), "Content-Length: 10||012", End::Close),
            (Fault::Stall(9), "Content-Length: 10||012345678", End::Hang),
            (Fault::Short(3), "Content-Length: 3||012", End::Keep),
            (Fault::Long(0), "Content-Length: 11||0123456789 ", End::Keep),
            (Fault::Flip(9), "Content-Length: 10||0123456788", End::Keep),
            (Fault::TooMuchSaid(1), "Content-Length: 12||0123456789", End::Close),
            (Fault::TooLittleSaid(1), "Content-Length: 8||0123456789", End::Keep),
            (Fault::Unsaid, "|0123456789", End::Close),
            (Fault::Chunked, "Transfer-Encoding: chunked||a|0123456789|0||", End::Keep),
            (Fault::SaidGzip, "Content-Encoding: gzip|Content-Length: 10||0123456789", End::Keep),
        ] {
            assert_eq!(sent(fault), (format!("{head}{rest}"), end), "{fault:?}");
        }
        assert_eq!(sent(Fault::CutHead(4)), ("HTTP".to_owned(), End::Close));
        let drips = |fault, bare| damaged(Answer::new(200).body("0123456789"), bare, fault).speed;
        let whole = "HTTP/1.1 200 Scripted\r\nContent-Length: 10\r\n\r\n".len();
        assert_eq!(drips(Fault::Drip(13), false), Speed::Drip(whole + 3));
        assert_eq!(drips(Fault::Drip(13), true), Speed::Drip(whole), "a HEAD has no body that could drip");
        assert_eq!(drips(Fault::DripHead(4), false), Speed::Drip(4));
        assert!(!sent(Fault::NoDigest).0.contains("Digest"));
    }
}
