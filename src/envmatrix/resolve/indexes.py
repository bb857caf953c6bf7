"""The indexes that a proof depends on: each must have answered for the very names.

uv passes over an index that refuses, and takes the page of a portal for a page without files. So no
proof of uv is believed before every index has been asked for every name of the proof, and has given
a valid page of the name, or a 404 from a server that shows that it is an index.
"""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from http import HTTPStatus
from urllib.parse import urlsplit

from envmatrix.resolve.fetching import PROXY_REFUSES, Fetcher, NoAnswerError, Reply
from envmatrix.resolve.pages import (
    ACCEPT,
    File,
    NoPageError,
    belongs,
    read_links,
    read_page,
    read_root,
)
from envmatrix.resolve.pip_settings import (
    DEFAULT_INDEX,
    PipSettings,
    default_index,
    is_local,
    local_path,
    shown,
)

# Names that nearly every index has. One of them shows that a server which answers 404 is an index.
_WELL_KNOWN = ("pip", "setuptools", "numpy", "wheel")
_ABSENT = (404, 410)
_CREDENTIALS = (401, 403, 407)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = 3
_HEAD_OF_ROOT = 64 * 2**20
_LARGEST_WHEEL = 64 * 2**20
_PART = 256 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """An index, or a place of find-links, and how a message names it."""

    url: str
    shown: str
    links: bool = False

    @property
    def host(self) -> str:
        """The host and the port, without a user. Nothing for a local folder."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a place gave no answer that can be relied on.

    `whole` tells that nothing on this host answers, `refused` that it wants credentials, `silent`
    that it was slow, and `transient` that a second question may have another answer.
    """

    place: Place
    why: str
    whole: bool = False
    refused: bool = False
    silent: bool = False
    transient: bool = False

    @property
    def cause(self) -> str:
        """The trouble in a sentence."""
        verb = "cannot be reached" if self.whole else "gave no answer that proves anything"
        return f"{self.place.shown} {verb}: {self.why}"


Answer = tuple[File, ...] | Trouble
"""What a place has of a name: its files, none of them, or the trouble."""


@dataclass
class Indexes:
    """Asks each place for each name once in a run, and remembers the answers."""

    settings: PipSettings
    stopped: threading.Event = field(default_factory=threading.Event)
    default: Callable[[], str] = default_index
    _answers: dict[tuple[Place, str], Answer] = field(default_factory=dict)
    _locks: dict[object, threading.Lock] = field(default_factory=dict)
    _indexes: dict[Place, Trouble | bool] = field(default_factory=dict)
    _roots: dict[Place, frozenset[str]] = field(default_factory=dict)
    _dead: dict[str, Trouble] = field(default_factory=dict)
    _sound: dict[str, str] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(self.settings, self.stopped)

    # --- which places there are

    @cached_property
    def own(self) -> tuple[Place, ...]:
        """The places of the user's settings, the default index first."""
        settings = self.settings
        places = [Place(place, shown(place), links=True) for place in settings.links]
        if settings.no_index:
            return tuple(places)
        url = settings.index_url
        default = Place(url, shown(url)) if url else Place(self.default(), DEFAULT_INDEX)
        return (default, *(Place(one, shown(one)) for one in settings.indexes), *places)

    def places(self, index: str | None) -> tuple[Place, ...]:
        """Return all places that a question depends on. `index` is the index of a variant."""
        if index is None or self.settings.no_index:
            return self.own
        return (Place(index, index), *self.own)

    def named(self, index: str | None) -> str:
        """Return the places in words, each once."""
        names = list(dict.fromkeys(place.shown for place in self.places(index)))
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    # --- what they answer

    def trouble(self, index: str | None, names: Iterable[str]) -> Trouble | None:
        """Return the first trouble that a place has with one of these names, if any has."""
        for name in names:
            for place in self.places(index):
                answer = self.ask(place, name)
                if isinstance(answer, Trouble):
                    return answer
        return None

    def files(self, index: str | None, name: str) -> Iterator[File]:
        """Yield the files of a name that the places answered."""
        for place in self.places(index):
            answer = self.ask(place, name)
            if not isinstance(answer, Trouble):
                yield from answer

    def dead(self, place: Place) -> Trouble | None:
        """Return why nothing on the host of a place answers, where this is known."""
        return self._dead.get(place.host) if place.host else None

    def forget(self, index: str | None, names: Iterable[str], *, all_of_them: bool) -> None:
        """Forget what places answered, so that they are asked again: troubles, or everything."""
        with self._guard:
            for name in names:
                for place in self.places(index):
                    answer = self._answers.get(_key(place, name))
                    if all_of_them or (isinstance(answer, Trouble) and answer.transient):
                        self._answers.pop(_key(place, name), None)
                        self._indexes.pop(place, None)
                        self._dead.pop(place.host, None)

    def ask(self, place: Place, name: str) -> Answer:
        """Return what a place has of a name."""
        key = _key(place, name)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._answers:
                found = self._ask(place, name)
                if isinstance(found, Trouble) and found.whole:
                    self._dead.setdefault(place.host, found)
                self._answers[key] = found
            answer = self._answers[key]
        if isinstance(answer, Trouble) or not place.links:
            return answer
        return tuple(file for file in answer if belongs(file.filename, name))

    def _ask(self, place: Place, name: str) -> Answer:
        if is_local(place.url):
            return self._local(place, name)
        if place.links:
            return self._page(place, place.url, "")
        found = self._page(place, _join(place.url, name), name)
        if isinstance(found, Trouble):
            # One slow page is one bad answer. Where others are slow too, nobody waits again.
            if found.silent and isinstance(self._is_index(place, name), Trouble):
                return replace(found, whole=True)
            return found
        if found:
            return found
        # A 404 counts only from a server that is an index.
        proof = self._is_index(place, name)
        return proof if isinstance(proof, Trouble) else ()

    def _page(self, place: Place, url: str, name: str) -> Answer:
        """Return the files of a page, none where there is no such page, or the trouble."""
        try:
            reply = self._fetcher.get(url, headers={"Accept": ACCEPT})
        except NoAnswerError as error:
            return Trouble(
                place,
                str(error),
                whole=not error.connected,
                refused=str(error) == PROXY_REFUSES,
                silent=error.silent,
                transient=True,
            )
        if reply.status in _ABSENT and name:
            return ()
        if reply.status != HTTPStatus.OK:
            return _refusal(place, reply, name)
        kind = reply.headers.get("content-type", "")
        try:
            if not name:
                return read_links(reply.body, reply.url)
            return read_page(reply.body, kind, reply.url, name)
        except NoPageError as error:
            return Trouble(place, str(error))

    def _is_index(self, place: Place, wanted: str) -> Trouble | bool:
        """Return True where a server shows that it is an index, and else the trouble."""
        with self._guard:
            found = self._indexes.get(place)
            good = any(
                one == place and answer and not isinstance(answer, Trouble)
                for (one, _), answer in self._answers.items()
            )
        if found is None:
            found = good or self._shows_that_it_is_one(place, wanted)
            self._indexes[place] = found
        if found is True and wanted in self._roots.get(place, ()):
            return Trouble(place, f"its root lists {wanted}, and it has no page of {wanted}")
        return found

    def _shows_that_it_is_one(self, place: Place, wanted: str) -> Trouble | bool:
        for name in _WELL_KNOWN:
            found = self._page(place, _join(place.url, name), name)
            if isinstance(found, Trouble):
                return found
            if found:
                return True
        try:
            root = self._fetcher.get(
                _join(place.url, ""), headers={"Accept": ACCEPT}, at_most=_HEAD_OF_ROOT
            )
        except NoAnswerError as error:
            return Trouble(place, str(error), whole=not error.connected, transient=True)
        kind = root.headers.get("content-type", "")
        names = read_root(root.body, kind) if root.status == HTTPStatus.OK else None
        if names is not None and names.isdisjoint((wanted, *_WELL_KNOWN)):
            self._roots[place] = names
            return True
        why = "it answers 404 for every name, so it is perhaps no package index"
        if names:
            why = "it answers 404 for names that its root lists"
        return Trouble(place, why)

    def _local(self, place: Place, name: str) -> Answer:
        """Return what a folder on this machine has: a tree of pages, or wheels side by side."""
        try:
            return _linked(place) if place.links else _tree(place, name)
        except NoPageError as error:
            return Trouble(place, str(error))
        except OSError as error:
            return Trouble(place, error.strerror or "it cannot be read")

    # --- whether metadata is what the wheel says

    def unsound(self, file: File) -> str:
        """Return why the metadata of a wheel cannot be relied on, or nothing where it can.

        The metadata beside a wheel must have the hash that the page tells, or be the text that is
        in the wheel, where a checksum protects it.
        """
        with self._guard:
            lock = self._locks.setdefault(file.url, threading.Lock())
        with lock:
            if file.url not in self._sound:
                try:
                    self._sound[file.url] = self._check(file)
                except NoAnswerError as error:
                    self._sound[file.url] = f"{file.filename} cannot be read: {error}"
                except (OSError, zipfile.BadZipFile, ValueError, KeyError, EOFError):
                    self._sound[file.url] = f"{file.filename} is damaged, or is no wheel"
            return self._sound[file.url]

    def forget_metadata(self) -> None:
        """Forget which metadata could not be relied on, so that it is looked at again."""
        with self._guard:
            for url in [url for url, why in self._sound.items() if why]:
                del self._sound[url]

    def _check(self, file: File) -> str:
        beside = self._get(f"{_bare(file.url)}.metadata") if file.has_metadata else None
        if beside is not None and file.metadata:
            same = sha256(beside).hexdigest() == file.metadata
            return "" if same else f"the metadata of {file.filename} is damaged"
        inside = _metadata(self._wheel(file))
        if beside is not None and beside != inside:
            return f"the metadata beside {file.filename} is not the one in it"
        return ""

    def _get(self, url: str) -> bytes:
        if is_local(url):
            return local_path(url).read_bytes()
        reply = self._fetcher.get(url, headers={})
        if reply.status != HTTPStatus.OK:
            raise NoAnswerError(f"the answer is {reply.status}", connected=True)
        return reply.body

    def _wheel(self, file: File) -> io.IOBase:
        if is_local(file.url):
            return local_path(_bare(file.url)).open("rb")
        return _Remote(self._fetcher, file)


def _linked(place: Place) -> tuple[File, ...]:
    """Return the files of a local place of find-links: a folder, or a page in a file."""
    root = local_path(place.url).absolute()
    if not root.is_dir():
        return read_links(root.read_bytes(), root.as_uri())
    return tuple(
        File(path.name, path.as_uri(), size=path.stat().st_size)
        for path in sorted(root.iterdir())
        if path.is_file()
    )


def _tree(place: Place, name: str) -> tuple[File, ...]:
    """Return the files of a name in a local tree of pages.

    Raises:
        NoPageError: the tree or the page is none.
    """
    root = local_path(place.url).absolute()
    page = root / name / "index.html"
    if page.parent.is_dir():
        return read_page(page.read_bytes(), "text/html", page.as_uri(), name)
    if any(path.is_dir() for path in root.iterdir()):
        return ()
    raise NoPageError("the folder holds no page, so it is perhaps no package index")


class _Remote(io.RawIOBase):
    """A wheel on a server, of which only the parts that are needed are brought."""

    def __init__(self, fetcher: Fetcher, file: File) -> None:
        super().__init__()
        self._fetcher = fetcher
        self._file = file
        self._place = 0
        self._parts: dict[int, bytes] = {}
        self._whole: bytes | None = None
        self._size = self._find_size()

    def _find_size(self) -> int:
        reply = self._ask(0, _PART)
        if reply.status == HTTPStatus.OK:
            if self._file.sha256 and sha256(reply.body).hexdigest() != self._file.sha256:
                raise ValueError("another hash")
            self._whole = reply.body
            return len(reply.body)
        self._parts[0] = reply.body
        return int(reply.headers.get("content-range", "").rpartition("/")[2])

    def _ask(self, start: int, size: int) -> Reply:
        reply = self._fetcher.get(
            _bare(self._file.url),
            headers={"Range": f"bytes={start}-{start + size - 1}"},
            at_most=_LARGEST_WHEEL,
        )
        if reply.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise NoAnswerError(f"the answer is {reply.status}", connected=True)
        return reply

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readall(self) -> bytes:
        return self.read(self._size - self._place)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self.readall()
        end = min(self._place + size, self._size)
        if self._whole is not None:
            data = self._whole[self._place : end]
        else:
            data = b""
            while self._place + len(data) < end:
                place = self._place + len(data)
                number, offset = divmod(place, _PART)
                part = self._part(number)[offset : offset + end - place]
                if not part:
                    raise EOFError
                data += part
        self._place += len(data)
        return data

    def _part(self, number: int) -> bytes:
        if number not in self._parts:
            self._parts[number] = self._ask(number * _PART, _PART).body
        return self._parts[number]


def _metadata(wheel: io.IOBase) -> bytes:
    with wheel, zipfile.ZipFile(wheel) as archive:
        (name,) = (
            name
            for name in archive.namelist()
            if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
        )
        return archive.read(name)


def _refusal(place: Place, reply: Reply, name: str) -> Trouble:
    status = reply.status
    about = f" for {name}" if name else ""
    why = (
        "it redirects without end"
        if status // 100 == _REDIRECTS
        else f"it answered {status}{about}"
    )
    return Trouble(place, why, refused=status in _CREDENTIALS, transient=status in _TRANSIENT)


def _key(place: Place, name: str) -> tuple[Place, str]:
    """Return under what an answer is kept. A place of find-links has one answer for all names."""
    return place, "" if place.links else name


def _join(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/" + (f"{name}/" if name else "")


def _bare(url: str) -> str:
    return url.partition("#")[0]
