//! Faults, and the requests at which they are injected.

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// Requests a token; it counts for the repository of the first scope.
    Token,
    ManifestHead,
    ManifestGet,
    ManifestPut,
    /// Lists referrers, by an API that the registry does not have.
    Referrers,
    BlobHead,
    /// Reads a blob, or a range of one.
    BlobGet,
    /// Starts an upload, or mounts a blob.
    UploadPost,
    /// Uploads a whole blob.
    UploadPut,
}

/// The `Retry-After` header of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    Absent,
    Seconds(u32),
    /// A date one second from now.
    Date,
}

/// The `WWW-Authenticate` header of a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    None,
    /// The usual challenge; the token of the request becomes invalid.
    Revoked,
    /// A realm on which nothing listens.
    UnreachableRealm,
    /// Another service each time.
    ChangingService,
    /// Another realm each time.
    ChangingRealm,
}

/// Where a response redirects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// Another host that has the content.
    OtherHost,
    /// A host on which nothing listens.
    DeadHost,
    /// To itself.
    Loop,
}

/// The `Location` header of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// A path.
    Relative,
    /// An absolute URL with a query.
    WithQuery,
    /// On another host, which must get no credentials.
    OtherHost,
    Absent,
    InvalidUrl,
}

/// A fault of one request. Positions within a body are taken modulo its length, so that each is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error status.
    Status(u16, RetryAfter),
    /// An error status before the body of the request was read; then the connection is closed.
    EarlyResponse(u16),
    /// 401.
    Unauthorized(Challenge),
    /// No response.
    Hang,
    /// The connection is closed after so many bytes of the request's body; nothing is stored.
    CutRequest(usize),
    /// 200 with a web page; nothing is stored.
    Html,
    Redirect(Redirect),
    /// 404.
    NotFound,
    /// 404 for an upload session; nothing is stored.
    UploadUnknown,

    /// The connection is closed after so many bytes of the response's head.
    CutHead(usize),
    /// The connection is closed after so many bytes of the response's body.
    CutBody(usize),
    /// Nothing follows after so many bytes of the response's body.
    StallBody(usize),
    /// The body is so short, and so is `Content-Length`.
    ShortBody(usize),
    /// The body is so many bytes longer, and so is `Content-Length`.
    LongBody(usize),
    /// One bit of the body is flipped.
    FlipBit(usize),
    /// `Content-Length` is so much too large; then the connection is closed.
    ContentLengthTooLarge(usize),
    /// `Content-Length` is so much too small, and the connection stays open.
    ContentLengthTooSmall(usize),
    /// No `Content-Length`; the end of the connection ends the body.
    NoContentLength,
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Compressed, although the client does not accept that.
    Gzip,
    /// `Content-Encoding: gzip` on an uncompressed body.
    FalseGzipHeader,
    /// A wrong `Docker-Content-Digest`.
    WrongDigest,
    /// No `Docker-Content-Digest`.
    NoDigest,
    /// In small pieces with pauses.
    Slow,
    /// After so many bytes of the response's body, one byte at a time, each before the client's stall timeout.
    TrickleBody(usize),
    /// The same after so many bytes of the response's head.
    TrickleHead(usize),
    /// The request's body is read one byte at a time; nothing is stored.
    TrickleRead,

    /// Another success status: 201 for the start of an upload, 202 for its end.
    OtherSuccess(u16),
    /// This `Location` for an upload.
    Location(Location),
    /// A possible mount is declined.
    MountDeclined,
    /// 201 for a mount that does not happen.
    MountLost,
    /// 201 for a blob or manifest that is not stored.
    NotStored,
    /// Content that the manifest refers to is lost just before the manifest arrives.
    LoseContent(usize),

    /// The whole blob for a range request.
    RangeIgnored,
    /// Another range than the requested one.
    WrongRange,
    /// 416.
    RangeRefused,

    /// An empty token.
    EmptyToken,
    /// A token that the registry does not accept.
    InvalidToken,
    /// A token that expires within a second.
    ShortLivedToken,
}

/// A fault, and the requests at which it is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledFault {
    /// Requests of this kind for one repository,
    pub at: RequestKind,
    /// after so many others of them,
    pub after: usize,
    /// so many times in a row.
    pub times: usize,
    pub fault: Fault,
}

/// For [`ScheduledFault::times`].
pub const FOREVER: usize = usize::MAX;

impl ScheduledFault {
    /// Once, after so many requests of this kind.
    pub fn once(at: RequestKind, after: usize, fault: Fault) -> Self {
        Self { at, after, times: 1, fault }
    }

    /// So many times in a row.
    pub fn burst(at: RequestKind, after: usize, times: usize, fault: Fault) -> Self {
        Self { at, after, times, fault }
    }

    /// From then on always.
    pub fn permanent(at: RequestKind, after: usize, fault: Fault) -> Self {
        Self { at, after, times: FOREVER, fault }
    }

    /// Whether to inject it into a request of this kind that so many came before.
    pub fn is_due(&self, at: RequestKind, before: usize) -> bool {
        self.at == at && before >= self.after && before - self.after < self.times
    }
}
