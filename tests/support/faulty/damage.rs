//! Applies a fault to a correct response.

use std::io::Write as _;

use super::{
    fault::Fault,
    http::{ConnectionEnd, RawResponse, Response, Speed, position_within},
};

/// The bytes to send for `response` with `fault`. `without_body` omits the body, as for a HEAD.
pub fn apply_fault(mut response: Response, without_body: bool, fault: Fault) -> RawResponse {
    let length = response.body.len();
    match fault {
        Fault::CutHead(position) => {
            let mut raw = response.into_raw(without_body);
            let head = head_length(&raw.bytes);
            raw.bytes.truncate(position_within(position, head));
            RawResponse { end: ConnectionEnd::Close, ..raw }
        }
        Fault::CutBody(position) => cut_body(response, without_body, position, ConnectionEnd::Close),
        Fault::StallBody(position) => cut_body(response, without_body, position, ConnectionEnd::Hang),
        Fault::ShortBody(position) => {
            response.body.truncate(position_within(position, length));
            response.into_raw(without_body)
        }
        Fault::LongBody(more) => {
            let mut longer = response.body.to_vec();
            longer.resize(length + more + 1, b' ');
            response.body(longer).into_raw(without_body)
        }
        Fault::FlipBit(position) => {
            let mut flipped = response.body.to_vec();
            if let Some(byte) = flipped.get_mut(position_within(position, length.saturating_sub(1))) {
                *byte ^= 1;
            }
            response.body(flipped).into_raw(without_body)
        }
        Fault::ContentLengthTooLarge(more) => {
            with_content_length(response, without_body, length + more + 1, ConnectionEnd::Close)
        }
        Fault::ContentLengthTooSmall(less) => {
            with_content_length(response, without_body, length.saturating_sub(less + 1), ConnectionEnd::Keep)
        }
        Fault::NoContentLength => {
            let mut bytes = response.head();
            if !without_body {
                bytes.extend_from_slice(&response.body);
            }
            RawResponse { bytes, speed: Speed::Whole, end: ConnectionEnd::Close }
        }
        Fault::Chunked => {
            let response = response.header("Transfer-Encoding", "chunked");
            let mut bytes = response.head();
            if !without_body {
                for chunk in response.body.chunks(100) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            RawResponse { bytes, speed: Speed::Whole, end: ConnectionEnd::Keep }
        }
        Fault::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&response.body).unwrap();
            response.body(gzip.finish().unwrap()).header("Content-Encoding", "gzip").into_raw(without_body)
        }
        Fault::FalseGzipHeader => response.header("Content-Encoding", "gzip").into_raw(without_body),
        Fault::WrongDigest => {
            let wrong = format!("sha256:{}", "0f".repeat(32));
            response.without(DIGEST).header(DIGEST, wrong).into_raw(without_body)
        }
        Fault::NoDigest => response.without(DIGEST).into_raw(without_body),
        Fault::Slow => {
            let raw = response.into_raw(without_body);
            RawResponse { speed: Speed::Pieces(raw.bytes.len().div_ceil(8)), ..raw }
        }
        Fault::TrickleBody(position) => {
            let raw = response.into_raw(without_body);
            let kept = if without_body { 0 } else { length - position_within(position, length.saturating_sub(1)) };
            RawResponse { speed: Speed::Trickle(raw.bytes.len() - kept), ..raw }
        }
        Fault::TrickleHead(position) => {
            let raw = response.into_raw(without_body);
            RawResponse { speed: Speed::Trickle(position_within(position, head_length(&raw.bytes))), ..raw }
        }
        _ => response.into_raw(without_body),
    }
}

/// The header with the digest of what a registry has or stored.
pub const DIGEST: &str = "Docker-Content-Digest";

/// Without the empty line at the end.
fn head_length(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap()
}

fn cut_body(response: Response, without_body: bool, position: usize, end: ConnectionEnd) -> RawResponse {
    let kept = if without_body {
        0
    } else {
        response.body.len() - position_within(position, response.body.len().saturating_sub(1))
    };
    let mut raw = response.into_raw(without_body);
    raw.bytes.truncate(raw.bytes.len() - kept);
    RawResponse { end, ..raw }
}

fn with_content_length(response: Response, without_body: bool, length: usize, end: ConnectionEnd) -> RawResponse {
    let response = response.header("Content-Length", length);
    let mut bytes = response.head();
    if !without_body {
        bytes.extend_from_slice(&response.body);
    }
    RawResponse { bytes, speed: Speed::Whole, end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(fault: Fault) -> (String, ConnectionEnd) {
        let raw = apply_fault(Response::new(200).header("Docker-Content-Digest", "d").body("0123456789"), false, fault);
        let text = String::from_utf8(raw.bytes).unwrap();
        (text.replace("\r\n", "|"), raw.end)
    }

    #[test]
    fn writes_each_fault_to_the_wire() {
        let head = "HTTP/1.1 200 Scripted|Docker-Content-Digest: d|";
        for (fault, rest, end) in [
            (Fault::Hang, "Content-Length: 10||0123456789", ConnectionEnd::Keep),
            (Fault::CutBody(0), "Content-Length: 10||", ConnectionEnd::Close),
            (Fault::CutBody(13), "Content-Length: 10||012", ConnectionEnd::Close),
            (Fault::StallBody(9), "Content-Length: 10||012345678", ConnectionEnd::Hang),
            (Fault::ShortBody(3), "Content-Length: 3||012", ConnectionEnd::Keep),
            (Fault::LongBody(0), "Content-Length: 11||0123456789 ", ConnectionEnd::Keep),
            (Fault::FlipBit(9), "Content-Length: 10||0123456788", ConnectionEnd::Keep),
            (Fault::ContentLengthTooLarge(1), "Content-Length: 12||0123456789", ConnectionEnd::Close),
            (Fault::ContentLengthTooSmall(1), "Content-Length: 8||0123456789", ConnectionEnd::Keep),
            (Fault::NoContentLength, "|0123456789", ConnectionEnd::Close),
            (Fault::Chunked, "Transfer-Encoding: chunked||a|0123456789|0||", ConnectionEnd::Keep),
            (Fault::FalseGzipHeader, "Content-Encoding: gzip|Content-Length: 10||0123456789", ConnectionEnd::Keep),
        ] {
            assert_eq!(sent(fault), (format!("{head}{rest}"), end), "{fault:?}");
        }
        assert_eq!(sent(Fault::CutHead(4)), ("HTTP".to_owned(), ConnectionEnd::Close));
        let speed = |fault, without_body| apply_fault(Response::new(200).body("0123456789"), without_body, fault).speed;
        let whole = "HTTP/1.1 200 Scripted\r\nContent-Length: 10\r\n\r\n".len();
        assert_eq!(speed(Fault::TrickleBody(13), false), Speed::Trickle(whole + 3));
        assert_eq!(speed(Fault::TrickleBody(13), true), Speed::Trickle(whole), "a HEAD has no body");
        assert_eq!(speed(Fault::TrickleHead(4), false), Speed::Trickle(4));
        assert!(!sent(Fault::NoDigest).0.contains("Digest"));
    }
}
