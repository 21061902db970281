//! What goes wrong, and at which request.

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A token, for the repository of its first scope.
    Token,
    /// Whether a manifest is there.
    ManifestHead,
    /// A manifest.
    ManifestGet,
    /// A manifest is stored.
    ManifestPut,
    /// Whether a blob is there.
    BlobHead,
    /// A blob, or a part of one.
    BlobGet,
    /// An upload is begun, or a blob is to be mounted.
    UploadPost,
    /// A whole blob is sent.
    UploadPut,
}

/// How a refused client is told when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Not at all.
    Unsaid,
    /// In so many seconds.
    Seconds(u32),
    /// At a date, one second from now.
    Date,
}

/// What a 401 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Nothing.
    None,
    /// What the registry always asks for; what was shown is good no more.
    Renew,
    /// A token of a service that is not there.
    DeadRealm,
    /// A token for another service each time.
    OtherService,
    /// A token of another realm each time.
    OtherRealm,
}

/// Where an answer sends a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// To another host that has it.
    Elsewhere,
    /// To a host where nobody listens.
    Nowhere,
    /// In a circle.
    Loop,
}

/// How the place of an upload is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// A path.
    Relative,
    /// A whole URL with a query of its own.
    Query,
    /// On another host, which must be shown no credentials.
    Elsewhere,
    /// Not at all.
    Absent,
    /// By something that is no URL.
    Nonsense,
}

/// What goes wrong with one request. Places within a body are taken modulo its length, so that each is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused.
    Status(u16, RetryAfter),
    /// It is refused before its body was read, and the connection ends.
    Early(u16),
    /// It is not known who asks.
    Unauthorized(Challenge),
    /// Nothing ever comes.
    Hang,
    /// The connection ends after so many bytes of the request's body; nothing was done.
    CutRequest(usize),
    /// A web page comes, with 200; nothing was done.
    Html,
    /// The answer is somewhere else.
    Redirect(Redirect),
    /// It is not there any more.
    Gone,
    /// The upload is not known; nothing was done.
    SessionGone,

    /// The connection ends after so many bytes of the answer's head.
    CutHead(usize),
    /// The connection ends after so many bytes of the answer's body.
    Cut(usize),
    /// Nothing more comes after so many bytes of the answer's body.
    Stall(usize),
    /// The body ends there, and the head says so.
    Short(usize),
    /// So many bytes more come, and the head says so.
    Long(usize),
    /// One bit of the body is another.
    Flip(usize),
    /// `Content-Length` says so much more, and the connection ends.
    TooMuchSaid(usize),
    /// `Content-Length` says so much less, and the connection goes on.
    TooLittleSaid(usize),
    /// No `Content-Length`; the connection's end is the body's.
    Unsaid,
    /// In chunks.
    Chunked,
    /// Compressed, though nobody asked for that.
    Gzip,
    /// It is said to be compressed, and is not.
    SaidGzip,
    /// Another `Docker-Content-Digest`.
    WrongDigest,
    /// No `Docker-Content-Digest`.
    NoDigest,
    /// In small pieces with pauses.
    Slow,
    /// From so many bytes of the answer's body on it comes byte by byte, each before the client's patience ends.
    Drip(usize),
    /// From so many bytes of the answer's head on.
    DripHead(usize),
    /// The request's body is taken byte by byte; nothing is done with it.
    Sip,

    /// A success with another status: 201 for an upload that begins, 202 for one that ends.
    Success(u16),
    /// The place of an upload is told in this way.
    Location(Location),
    /// A mount is not granted, though it could be.
    NoMount,
    /// 201 for a mount that does not happen.
    LostMount,
    /// 201 for a blob or manifest that is not kept.
    Lost,
    /// What the manifest names, or one of it, is lost just before it comes.
    LostPart(usize),

    /// The whole comes though a part was asked for.
    WholeForRange,
    /// Another part comes than the one that was asked for.
    OtherRange,
    /// There is no such part.
    NoRange,

    /// An empty token.
    EmptyToken,
    /// A token that the registry does not take.
    BadToken,
    /// A token that ends at once.
    ShortToken,
}

/// A fault, and its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// At requests of this kind for one repository …
    pub at: Kind,
    /// … so many of them having gone before …
    pub after: usize,
    /// … and so many in a row …
    pub times: usize,
    /// … this goes wrong.
    pub fault: Fault,
}

/// For [`Planned::times`]: it does not pass.
pub const STAYS: usize = usize::MAX;

impl Planned {
    /// Once, at the request of that kind before which `after` others came.
    pub fn once(at: Kind, after: usize, fault: Fault) -> Self {
        Self { at, after, times: 1, fault }
    }

    /// So many times in a row from that request on.
    pub fn storm(at: Kind, after: usize, times: usize, fault: Fault) -> Self {
        Self { at, after, times, fault }
    }

    /// From that request on.
    pub fn staying(at: Kind, after: usize, fault: Fault) -> Self {
        Self { at, after, times: STAYS, fault }
    }

    /// Whether it is this one's turn.
    pub fn is_due(&self, at: Kind, before: usize) -> bool {
        self.at == at && before >= self.after && before - self.after < self.times
    }
}
