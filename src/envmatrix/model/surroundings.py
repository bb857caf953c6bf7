"""The failures of the surroundings that are known: network, mirrors, disk, memory, engine.

They say nothing about a cell. A pattern here has the shape in which apt, pip, uv, curl, git or an
engine tells of a failure, so that the same words in the output of a cell's own program do not
match. An entry with `supports` is a warning: it counts only beside an error that matches
`supports`, or where the output tells of no other error.
"""

from __future__ import annotations

from collections.abc import Mapping

from envmatrix.model.known import Names, known

_MIRROR = "try again later, or point apt, pip and uv at another mirror"
_REACH = "run from where it can be reached, or point the tools at a mirror or a proxy"
_LOG_IN = "give the credentials for it (pip settings, netrc, docker login, the proxy's address)"

_CODES = {
    "401": ("credentials", "asks for credentials (HTTP 401)", _LOG_IN),
    "403": ("refused", "refuses the request (HTTP 403)", "ask its owner, or use another mirror"),
    "407": ("credentials", "is behind a proxy that asks for credentials (HTTP 407)", _LOG_IN),
    "429": (
        "rate-limited",
        "answers that too much was asked of it (HTTP 429)",
        "wait and try again, log in, or use a mirror",
    ),
    "451": ("refused", "refuses the request (HTTP 451)", "use another mirror"),
    "511": ("credentials", "is behind a portal that asks for a login (HTTP 511)", _LOG_IN),
}


def _code(names: Names) -> Mapping[str, str] | None:
    """Give class and remedy of the code that a server of files answered with."""
    code = names.get("code") or names.get("code2") or ""
    if code in _CODES:
        kind, said, remedy = _CODES[code]
    elif code.startswith(("4", "5")):
        kind, said, remedy = "mirror", f"answers with an error (HTTP {code})", _MIRROR
    else:
        return None
    return {"kind": kind, "said": said, "do": remedy}


def _registry_code(names: Names) -> Mapping[str, str] | None:
    """Do the same for an image registry."""
    found = _code(names)
    if found and found["kind"] == "mirror":
        return {**found, "kind": "registry", "do": "try again later, or use another registry"}
    return found


_DISK = (
    known(
        "disk-full",
        r"(?i)\bno space left on device\b|\bENOSPC\b(?!['\"]|\b.{0,20}undeclared)|os error 28\b|"
        r"\[Errno 28\]|disk quota exceeded|You don't have enough free space in|"
        r"not enough (?:free )?disk space",
        "the disk is full",
        "free some disk (images and build caches that are not needed), or run with fewer cells",
    ),
    known(
        "read-only",
        r"(?i)os error 30\b|\[Errno 30\]|: read-only file system$",
        "the file system may not be written to",
        "mount it writable, or move the engine's data to another disk",
    ),
)

_MEMORY = (
    known(
        "out-of-memory",
        r"(?m)exit code: 137\b|non-zero code: 137\b|exited with code 137\b|exit status 137\b|"
        r"^(?:\S+: (?:line )?\d+: +(?:\d+ )?)?Killed(?: {2,}.*)?$|OOMKilled|"
        r"fatal error: Killed signal terminated program|oom-kill|Out of memory: Killed process|"
        r"signal: killed$|received signal 9\b|<Signals\.SIGKILL",
        "a process was killed (SIGKILL, exit code 137): most often the kernel did it for want of "
        "memory",
        "give the engine more memory, or run fewer cells side by side (--jobs 1)",
    ),
    known(
        "out-of-memory",
        r"(?m)^(?:[\w.]+\.)?MemoryError\b|[Cc]annot allocate memory(?! in static TLS)|"
        r"virtual memory exhausted|memory allocation of \d+ bytes failed|\[Errno 12\]|os error "
        r"12\b|"
        r"fork: retry|[Uu]nable to fork|std::bad_alloc$",
        "the memory did not suffice for the build",
        "give the engine more memory, or run fewer cells side by side (--jobs 1)",
    ),
)

_ENGINE = (
    known(
        "driver-too-old",
        r"nvidia-container-cli: requirement error: (?:unsatisfied condition: )?"
        r"(?P<need>(?:cuda|driver) ?[<>=]+ ?[\d.]+\d)",
        "the NVIDIA driver of the host is older than the image asks for: {need}",
        "update the driver of the host to one for {need}, or take the build for an older CUDA",
    ),
    known(
        "driver-missing",
        r"nvidia-container-cli: (?:initialization error: )?(?:load library failed|nvml error: "
        r"driver "
        r"not loaded|WSL environment detected but no adapters|cuda error)",
        "NVIDIA's container runtime finds no driver on the host",
        "install the driver on the host (on WSL2: that of Windows), and restart the engine",
    ),
    known(
        "driver-mismatch",
        r"nvidia-container-cli: [^\n]{0,300}[Dd]river/library version mismatch",
        "the kernel's part of the NVIDIA driver and its libraries are of different releases",
        "restart the host, so that the updated driver runs",
    ),
    known(
        "engine",
        r"nvidia-container-(?:cli|runtime)(?:\.real)?: (?P<said>[^\n]{1,200})|could not select "
        r"device "
        r"driver (?P<driver>[^\n]{1,120})|failed to discover GPU vendor|unknown or invalid runtime "
        r"name: (?P<runtime>\S+)|unresolvable CDI devices",
        "the engine cannot give the GPU to a container {said}{driver}{runtime}",
        "install the NVIDIA Container Toolkit, run nvidia-ctk runtime configure, and restart the "
        "engine",
    ),
    known(
        "engine",
        r"(?m)^runc: (?P<said>.+)$",
        "the engine's own runc cannot run: {said}",
        "install the runc that belongs to the engine and to this OS",
    ),
    known(
        "engine",
        r"(?m)(?:^|: )(?:exec(?: user process caused)?(?: [^\n:]{1,120})?: )exec format error|"
        r"image's platform \([^\n)]*\) does not match the (?:detected|expected) host platform",
        "the image is for another architecture than the engine's machine",
        "use an engine on a machine of that architecture, or one with emulation (binfmt, QEMU)",
    ),
    known(
        "engine",
        # What an image lacks is the image's own fault: it has no such program, or may not run it.
        r"(?m)^(?![^\n]*(?:executable file not found|exec: \\?\"[^\n]*(?:no such file or directory|"
        r"permission denied)))[^\n]*(?:"
        r"(?:OCI runtime|runc|crun|containerd|shim)\b[^\n]{0,120}(?:create|start|exec|run)"
        r"[^\n]{0,40}(?:failed|error)|failed to create (?:shim|task|endpoint|network)\b|"
        r"error (?:creating|mounting) overlay|failed to (?:mount overlay|register layer|"
        r"convert whiteout|create NAT chain|prepare extraction snapshot)|"
        r"overlay2?: [^\n]{0,100}(?:invalid argument|device or resource busy)|"
        r"cgroups?: [^\n]{0,100}(?:cannot|not) |invalid mount config|"
        r"error during connect: |Cannot connect to the Docker daemon|"
        r"[Dd]ocker daemon (?:is not|isn't) running|error reading from server: EOF|"
        r"rpc error: code = (?:Unavailable|Canceled|Aborted|DataLoss)\b|no active session|"
        r"transport is closing|: input/output error$|failed to load cache key|"
        r"[Ss]tructure needs cleaning)",
        "the engine failed, not the step that it ran",
        "see the engine's own log (journalctl -u docker), restart it, then try again",
    ),
)

_REGISTRY = (
    known(
        "rate-limited",
        r"toomanyrequests|reached your (?:unauthenticated )?pull rate limit|pull rate limit",
        "the image registry allows no more pulls for now",
        "log in (docker login), wait, or use a mirror of the registry",
    ),
    known(
        "credentials",
        r"pull access denied for (?P<image>[^\s,]+)|"
        r"(?:denied|unauthorized): (?:requested access|access|authentication required|incorrect "
        r"username)|no basic auth credentials|insufficient_scope",
        "the image registry gives {image} only to those who log in, or has no such image",
        "correct the name of the image, or log in to the registry (docker login)",
    ),
    known(
        "registry",
        r"manifest (?:for (?P<image>\S+) )?(?:unknown|not found)|"
        r"no match(?:ing manifest)? for (?:platform|(?P<platform>\S+))[^\n]{0,40}manifest|"
        r"no matching manifest for (?P<arch>[\w/]+)|"
        r"(?<![\w.:/@-])(?P<name>[\w.:/@-]+): failed to resolve (?:source metadata|"
        r"reference)[^\n]{0,300}: not found|"
        r"(?<![\w.:/@-])(?P<other>[\w.-]++(?:/[\w.-]++)+(?::[\w.-]++)?): not found$|repository "
        r"(?P<repo>\S+) not found",
        "the image registry has no such image, or none for this architecture: "
        "{image}{name}{other}{repo}{arch}{platform}",
        "correct the image of the OS in the matrix, or use --base bootstrap",
    ),
    known(
        "registry",
        r"(?:unexpected status(?: code)?(?: from \w+ request to \S+)?:? |received unexpected HTTP "
        r"status: |unexpected HTTP status:? |registry[^\n]{0,60} responded with status "
        r")(?P<code>[45]\d\d)",
        "the image registry {said}",
        "{do}",
        _registry_code,
    ),
    known(
        "registry",
        r"failed to (?:resolve|fetch|copy|do request|authorize|pull)[^\n]{0,200}(?:EOF|broken pipe|"
        r"unexpected end|digest mismatch|size mismatch|failed size validation)|filesystem layer "
        r"verification failed|httpReadSeeker|unexpected commit digest",
        "the image registry broke off, or gave damaged layers",
        "try again; if it stays so, use another registry or mirror, or --base bootstrap",
    ),
)

_NETWORK = (
    known(
        "blocked",
        r"dns error|Temporary failure (?:resolving|in name resolution)|[Cc]ould not resolve(?: "
        r"host| "
        r"proxy|:? ?')|failed to lookup address|Name or service not known|no such host\b|"
        r"server misbehaving$|[Nn]ame resolution failed|NameResolutionError|gaierror|"
        r"unable to resolve host address|Try again\)? *\(os error",
        "a host that is needed cannot be found: its name does not resolve from here",
        "check DNS, and the network and the proxy of the engine; or point the tools at a mirror "
        "that "
        "can be reached",
    ),
    known(
        "blocked",
        r"invalid peer certificate|CERTIFICATE_VERIFY_FAILED|x509: |SSL certificate problem|"
        r"certificate (?:verification|verify) failed|tls: failed to verify certificate|"
        r"server certificate verification failed|SSLCertVerificationError|"
        r"curl: \((?:35|51|58|60|77)\)|self[- ]signed certificate|"
        r"No system certificates available|(?m:^error: ssl-verification-failed$)",
        "the connection is not trusted: its certificate is not known here",
        "add the certificate of the proxy or mirror to those that the host and pip trust "
        "(PIP_CERT, SSL_CERT_FILE)",
    ),
    known(
        "mirror",
        r"(?:Failed to fetch|Err:\d+)[^\n]{0,300} {2}(?P<code>[45]\d\d) {2}|"
        r"(?m:^ *(?P<code2>[45]\d\d) {2}[A-Z][\w ]+\[IP: )",
        "the package mirror of the OS {said}",
        "{do}",
        _code,
        supports=r"(?m)^E: ",
    ),
    known(
        "mirror",
        r"E: Failed to fetch [^\n]{0,300} {2}(?P<code>[45]\d\d) {2}|"
        r"E: [^\n]{0,300}(?:[Tt]unnel connection failed|Proxy|"
        r"CONNECT)[^\n]{0,300}?\b(?P<code2>[45]\d\d)\b",
        "the package mirror of the OS {said}",
        "{do}",
        _code,
    ),
    known(
        "mirror",
        r"(?:HTTP error |HTTP status (?:client|server) error \(|Tunnel connection failed: |"
        r"requested URL returned error: |returned a |curl: \(22\)[^\n]{0,80}error: |"
        r"wget[^\n]{0,80}ERROR |^ERROR: )(?P<code>[45]\d\d)\b|"
        r"(?P<code2>[45]\d\d) (?:Client|Server) Error: [^\n]{0,300}for url: (?!https?://(?:localhost|127\.))|"
        r"status code (?P<code3>[45]\d\d)\b|too many (?P<code4>[45]\d\d) error responses",
        "the package index {said}",
        "{do}",
        lambda names: _code({"code": next(filter(None, names.values()), "")}),
    ),
    known(
        "mirror",
        r"\bExceeded \d{1,4} redirects\b|TooManyRedirects\b|curl: \(47\)|"
        r"(?i:\bredirection (?:limit|loop)|too many redirects)",
        "a mirror or a package index redirects without end (a login portal does that)",
        _MIRROR,
    ),
    known(
        "blocked",
        r"(?i)\boperation timed out\b|\bconnection timed out\b|\bread timed out\b|"
        r"(?:read|connect|write)timeout(?:error)?\b|timeout was reached|i/o timeout|"
        r"context deadline exceeded|Client\.Timeout exceeded|TLS handshake timeout|"
        r"net/http: request canceled|connection timed out|curl: \(28\)|deadline has elapsed|"
        r"network timeout|(?m:^error: connection-timeout$)|"
        r"request timed out\b(?=[^\n]{0,300}(?:url|https?:))",
        "something that had to be downloaded did not answer in time",
        _REACH,
    ),
    known(
        "blocked",
        r"(?i)connection reset by peer|Connection broken: |connection closed before message|"
        r"tls handshake eof|error reading from server|remote end closed connection|"
        r"curl: \((?:18|52|55|56|92)\)|unexpected eof while reading|RemoteDisconnected|"
        r"GnuTLS recv error|early EOF|fetch-pack: unexpected disconnect|"
        r"peer closed connection without|ChunkedEncodingError|server closed (?:the )?connection|"
        r"(?m:^error: incomplete-download$)|the connection was closed without a reply",
        "a download was broken off",
        "try again; if it stays so, " + _REACH,
    ),
    known(
        "mirror",
        r"(?m)[Hh]ash [Ss]um mismatch|File has unexpected size|Mirror sync in progress|"
        r"Hashes of expected file|Release file for [^\n]{0,300} is (?:not valid yet|expired)|"
        r"(?:does not have|no longer has) a Release file|Clearsigned file isn't valid|"
        r"^(?:E|W|Err)\b[^\n]{0,300}(?:NO_PUBKEY|is not signed|were invalid|EXPKEYSIG|BADSIG)|"
        r"PACKAGES DO NOT MATCH THE HASHES|Hash mismatch for|"
        r"Failed to (?:read from zip file|extract|unpack)|[Ff]ailed to extract archive|"
        r"invalid package format|BadZipFile|BadZipfile|"
        r"(?:Wheel|Archive) '[^'\n]*'[^\n]{0,300} is invalid|has an invalid wheel|"
        r"dpkg-deb[^\n]{0,300}(?:unexpected end of file|corrupt|invalid magic|"
        r"is not a Debian format archive|error: '[^\n]{0,300}' is not)|"
        r"(?:lzma|xz|gzip|zstd)[^\n]{0,300}(?:compressed data is corrupt|unexpected end of "
        r"(?:file|input|data))|"
        r"IncompleteRead|[Cc]ontent-?[Ll]ength mismatch|error decoding response body|"
        r"request or response body error|invalid (?:Zip|gzip|tar) (?:archive|header)|"
        r"end of central directory|structure was invalid|"
        r"[Rr]etrieval of[^\n]{0,300}incomplete|Undetermined Error|At least one "
        r"invalid signature",
        "a mirror or a package index gave a damaged or incomplete file, or another page instead (a "
        "login portal does that)",
        _MIRROR + "; remove the file from the wheelhouse if it was kept",
    ),
    known(
        "blocked",
        # A client of a service on this machine is no tool that downloads.
        r"(?i)connection refused \(os error|dial (?:tcp|unix) [^\n]{0,300}connection refused|"
        r"\[Errno (?:111|113|101)\]|curl: \(7\)|Failed to connect to \S+ port|"
        r"NewConnectionError|Failed to establish a new connection|error sending request for url|"
        r"(?m:^error: (?:proxy-)?connection-failed$)|"
        r"(?m:^(?:[EW]: |Err:|ERROR: |error: |fatal: |wget: |curl: |failed to "
        r")[^\n]{0,300}connection refused)|"
        r"Connection failed(?: \[IP|$)|[Nn]etwork is unreachable|[Nn]o route to host|"
        r"Could not connect to [\w.:-]+|Unable to connect to [\w.-]+:(?:https?|\d+):?|"
        r"Cannot initiate the connection to|Cannot connect to proxy|ProxyError|proxyconnect tcp|"
        r"tcp connect error|client error \(Connect\)|connect: connection refused",
        "something that had to be downloaded cannot be reached from here",
        _REACH,
    ),
    known(
        "blocked",
        r"(?m)^WARNING: Retrying \(|Could not fetch URL|after connection broken by|"
        r"Some index files failed to download|^W: Failed to fetch|^Err:\d+ ",
        "the package index or mirror cannot be reached from here",
        _REACH,
        supports=r"No matching distribution found|Could not find a version|Unable to locate pack"
        r"age|"
        r"has no installation candidate|Could not install packages|Package \S+ is not available|"
        r"Unable to correct problems",
    ),
    known(
        "mirror",
        r"(?<!\S)(?P<name>\S++) was not found in the package registry",
        "the package index does not have {name}, or did not answer for it",
        "check the index in the pip settings, and that it has {name}",
    ),
    known(
        "mirror",
        r"Unable to fetch some archives|E: Failed to fetch (?P<url>\S+)",
        "the package mirror of the OS did not give a package",
        _MIRROR,
    ),
)

SURROUNDINGS = (*_DISK, *_MEMORY, *_ENGINE, *_REGISTRY, *_NETWORK)
