"""The failures that are known of cells: what real output of each looks like, and what to do.

Data. The first entry that fits counts, so a special case stands before the general one. The texts
are filled with the groups of the pattern and with what the tables of `holders` know of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from envmatrix.model import holders
from envmatrix.model.known import Ending, Names, known, look_up

# A name is taken whole, so that a line is read once and not once from each of its letters.
_LIB = r"(?<![\w.+-])(?=[\w.+-]*?\.so)(?P<library>[\w.+-]++)"
_CALLED = r"(?<![\w.+-])(?P<library>lib[\w.+-]++)"
_MISSING = r": cannot open shared object file"
_UNDEFINED = (
    r"(?<![\w.+-])(?!\w*Error:)(?P<library>[\w.+-]++): undefined symbol: "
    r"(?P<symbol>(?:{})[\w@.]*)"
)
_Q = r"[`'\"\u2018\u2019]"
_GPU = r"\bGPUs?\b|\bgpus?\b|(?i:cuda|nvidia|driver)"

_OTHER_BUILD = (
    "install the companion library from the same index as the framework, of the release that "
    "belongs to it, for the same accelerator"
)
_BOTH_WAYS = (
    "pin {package} to a release that has it: an older one if it was removed, a newer one if it is "
    "new; or take the release of what asks for it that fits the {package} installed here"
)
_MEMORY_OF_GPU = (
    "give it less to do (a smaller batch, model or precision), end what else uses the GPU, or take "
    "a GPU with more memory"
)
_CXX_RUNTIME = (
    "take a newer OS, or a release of the library for this one; where conda is used or "
    "LD_LIBRARY_PATH is set, put the newer libstdc++ first (conda install -c conda-forge "
    "libstdcxx-ng, or unset LD_LIBRARY_PATH)"
)
_SHM = (
    "raise --shm-size of the container (for example --shm-size=8g), use --ipc=host, or fewer "
    "workers"
)
_NETWORK = (
    "put the file into the image beforehand, or make it in the program: probes run without "
    "network; "
    "elsewhere, check the network, the proxy and the offline settings"
)


_MINOR = re.compile(r"3\.([0-9]{1,3})")
_FLOOR = re.compile(r">=? ?3\.([0-9]{1,3})")


def _cuda_number(names: Names) -> Mapping[str, str]:
    """Write CUDA's number of a version, 12040, as 12.4."""
    number = int(names["number"])
    return {"cuda": f"{number // 1000}.{number % 1000 // 10}"}


def _driver_for_cuda(names: Names) -> Mapping[str, str]:
    """Name the line of drivers that first serves the CUDA of a requirement."""
    found = holders.DRIVERS.find(names["need"].replace(" ", ""))
    return {"driver": f" (driver {found[0]} and newer)" if found else ""}


def _python_asked(names: Names) -> Mapping[str, str]:
    """Tell from a requirement on Python whether the running one is too old for it."""
    have = _MINOR.search(names["have"])
    floor = _FLOOR.search(names["want"])
    old = have and floor and int(have[1]) < int(floor[1])
    return {"kind": "python-too-old" if old else "python-too-new"}


def _not_a_namespace(names: Names) -> Mapping[str, str] | None:
    """Fit where the package is installed and lacks a part; split the name into the two."""
    module = names["module"]
    package = module.partition(".")[0]
    if package in holders.NAMESPACES or "." not in module:
        return None
    pin = holders.REMOVALS.find(module)
    hint = f'pin "{pin[0]}", which still has it; or ' if pin else ""
    return {"package": package, "hint": hint}


def _distribution(names: Names) -> Mapping[str, str]:
    found = holders.DISTRIBUTIONS.find(names["module"]) or (names["module"],)
    return {"distribution": found[0]}


def _removal(names: Names) -> Mapping[str, str] | None:
    """Fit where the pin is known that still has a name of a module."""
    found = holders.REMOVALS.find(f"{names['package']}.{names['name']}")
    return {"pin": found[0]} if found else None


def _added_name(names: Names) -> Mapping[str, str] | None:
    found = holders.ADDED_NAMES.find(f"{names['package']}.{names['name']}")
    return {"python": found[0]} if found else None


def _removed_name(names: Names) -> Mapping[str, str] | None:
    found = holders.REMOVED_NAMES.find(f"{names['package']}.{names['name']}")
    return {"python": found[0], "last": found[1]} if found else None


def _object_removal(names: Names) -> Mapping[str, str] | None:
    found = holders.OBJECT_REMOVALS.find(f"{names['package']}.{names['name']}")
    return {"pin": found[0]} if found else None


def _python_of_release(names: Names) -> Mapping[str, str] | None:
    """Fit where pip passed over the release that was asked for; say which Python that asks for."""
    asked = dict(re.findall(r"(\S+) Requires-Python ([^;]+)", names["ignored"]))
    python = asked.get(names["version"])
    return {"python": python.strip()} if python else None


_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]+")


def _os_package(names: Names) -> Mapping[str, str] | None:
    """Fit where the package of a library is known; say where a matrix lists it."""
    found = holders.OS_PACKAGES.find(names["library"])
    if found is None:
        return None
    if not _PACKAGE.fullmatch(found[0]):
        return {"package": found[0], "listed": ""}
    package = found[0].lower()
    return {"package": package, "listed": f"; in a matrix, packages: [{package}] of the stack"}


_HAS_NO = r"module '(?P<package>[\w.]+)' has no attribute '(?P<name>\w+)'"
_CANNOT_IMPORT = r"cannot import name '(?P<name>\w+)' from '(?P<package>[\w.]+)'"
_NO_MODULE = r"No module named '?(?P<module>[\w.]+)'?"

# --- What is loaded: the C library, the C++ runtime, symbols, shared libraries

_LIBRARIES = (
    known(
        "cpu-too-old",
        r"CPU ISA level is lower than required|CPU does not support (?P<lacks>x86-64-v\d)",
        "the processor is older than the C library of this OS needs",
        "run it on a newer processor, or take an OS that is made for this one",
    ),
    known(
        "glibc-too-old",
        rf"version {_Q}(?P<need>GLIBC_[\d.]+){_Q} not found",
        "a library needs {need}, newer than the C library of this OS",
        "take a newer OS, or an older release of the framework",
    ),
    known(
        "libstdcxx-too-old",
        rf"(?:{_LIB}: )?version {_Q}(?P<need>(?:GLIBCXX|CXXABI|GOMP|GCC)_[\w.]+){_Q} not found",
        "a library needs {need}, which the libstdc++ that was loaded does not have: it is older "
        "than "
        "GCC {gcc}, or another copy (conda's, or one on LD_LIBRARY_PATH) hides a newer one",
        _CXX_RUNTIME,
        look_up("need", holders.GCC_RELEASES, "gcc"),
    ),
    known(
        "cuda-mismatch",
        rf"(?<![\w.+-])(?P<library>lib(?:cu|nv|nccl)[\w.+-]++): version "
        rf"{_Q}(?P<need>[^'`\u2019\n]{{1,80}}){_Q} not "
        r"found",
        "{library} is of another CUDA release than what loads it: it has no {need}",
        "remove other CUDA libraries from LD_LIBRARY_PATH, and install the one that the framework "
        "pins",
    ),
    known(
        "undefined-symbol",
        rf"{_LIB}: version {_Q}(?P<need>[A-Za-z][\w.+-]+){_Q} not found",
        "the {library} that was loaded has no {need}: two copies of it are mixed",
        "remove {library} from LD_LIBRARY_PATH, or take both from one source (all of conda, or all "
        "of the OS)",
    ),
    known(
        "static-tls",
        rf"(?:{_LIB}: )?cannot (?:allocate memory in static TLS block|load any more object with "
        r"static TLS)",
        "too many libraries with static thread-local storage are loaded before {library}",
        "import what uses {library} first, or set LD_PRELOAD to its path; a newer C library has "
        "more room (GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384)",
    ),
    known(
        "executable-stack",
        rf"(?:{_LIB}: )?cannot enable executable stack",
        "{library} asks for an executable stack, which the C library of this OS refuses",
        "take a newer release of what holds {library}, or an OS with a C library before 2.41",
    ),
    known(
        "not-executable",
        rf"(?:{_LIB}: )?failed to map segment from shared object",
        "{library} lies where nothing may be executed, or the limit on memory is too low",
        "keep it off a file system that is mounted noexec (/tmp, /dev/shm), or raise the limit",
    ),
    known(
        "wrong-architecture",
        rf"(?:{_LIB}: )?(?:wrong ELF class|cannot open shared object file: Exec format error|"
        r"mach-o file)|[Ee]xec format error",
        "a program or library here is made for another kind of processor",
        "take the build for the architecture of this machine",
    ),
    known(
        "damaged-file",
        rf"{_LIB}: (?:file too short|invalid ELF header)",
        "{library} is no whole library",
        "install the package that holds {library} again",
    ),
    known(
        "cuda-mismatch",
        _UNDEFINED.format(r"cudnn\w*|_ZNK?5cudnn\w*")
        + r"|(?P<other>libcudnn[\w.]*): undefined symbol",
        "two different cuDNN are loaded: one library of it does not have what another needs",
        "keep one cuDNN: remove the others from LD_LIBRARY_PATH and from the OS, and install the "
        "nvidia-cudnn that the framework pins",
    ),
    known(
        "libstdcxx-too-old",
        _UNDEFINED.format(holders.CXX_SYMBOL),
        "{library} needs {symbol}, which the libstdc++ that was loaded does not have: it is too "
        "old, "
        "or another copy hides a newer one",
        _CXX_RUNTIME,
    ),
    known(
        "glibc-too-old",
        _LIB + r": undefined symbol: (?P<symbol>[\w@.]+), version (?P<need>GLIBC_\w[\w.]*)",
        "{library} needs {symbol} of {need}: it is not of the C library that runs here",
        "do not mix C libraries: remove copies of them from LD_LIBRARY_PATH, or take a newer OS",
    ),
    known(
        "undefined-symbol",
        _UNDEFINED.format(r"\w*" + holders.FRAMEWORK_SYMBOL + r"|(?:THP|aoti_|torch_)\w+"),
        "{library} needs the symbol {symbol}, which the installed libraries do not have: it was "
        "built for another release of the framework",
        "install the release of {library} that was built for this framework version, or build it "
        "again against it",
    ),
    known(
        "undefined-symbol",
        _UNDEFINED.format(r"[\w.]+"),
        "{library} needs the symbol {symbol}, which {owner} should have: the one that was loaded "
        "is "
        "another release",
        "change {owner}",
        look_up("symbol", holders.SYMBOL_OWNERS, "owner"),
    ),
    known(
        "undefined-symbol",
        _UNDEFINED.format(r"[\w.]+"),
        "{library} needs the symbol {symbol}, which the installed libraries do not have",
        "install the release of it that was built for this framework version, or of the library "
        "that should have the symbol",
    ),
    known(
        "undefined-symbol",
        r"[Uu]ndefined symbol:? (?P<symbol>[\w@.]+)",
        "a library needs the symbol {symbol}, which the installed libraries do not have",
        "install the release of it that was built for this framework version, or of the library "
        "that should have the symbol",
    ),
    known(
        "cuda-mismatch",
        r"Unable to load any of \{(?P<library>libcudnn[\w.]*)|"
        r"(?:Cannot|Could not) load symbol (?P<symbol>cudnn\w+)",
        "the parts of cuDNN that are loaded do not belong together: two cuDNN, or one without "
        "all of its libraries",
        "keep one cuDNN: remove the others from LD_LIBRARY_PATH and from the OS, and install the "
        "nvidia-cudnn that the framework pins; where only one is there, put its folder on "
        "LD_LIBRARY_PATH",
    ),
    known(
        "driver-missing",
        r"(?<![\w.+-])(?P<library>libcuda\.so[\w.]*+|libnvidia-(?!container)[\w.-]++)"
        r"(?:: cannot open shared object|'; dlerror|.? cannot found|.? not found)",
        "{library} is missing: NVIDIA's driver does not reach this place",
        "install the driver on the host, and start the container with its GPUs (--gpus all, with "
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
    ),
    known(
        "undefined-symbol",
        r"INTEL (?:one)?MKL ERROR: .*undefined symbol: (?P<symbol>\w+)",
        "a part of MKL needs {symbol}, which the MKL that was loaded does not have",
        "use one release of MKL: reinstall mkl, or preload its libmkl_core",
    ),
    known(
        "missing-library",
        rf"Cannot load {_CALLED} or|MKL FATAL ERROR: Cannot load (?P<mkl>lib\w+[\w.]*)",
        "a library of MKL is missing, or is of another release than the others",
        "reinstall mkl, so that all its libraries are of one release",
    ),
    known(
        "companion-build",
        r"(?<![\w.+-])(?P<library>lib(?:torch|c10|tensorflow|jax)[\w.-]*+)" + _MISSING,
        "{library} of the framework is missing: what asks for it was built for another build of "
        "the "
        "framework",
        _OTHER_BUILD,
    ),
    known(
        "missing-library",
        _LIB + _MISSING,
        "the shared library {library} is missing: {what}",
        "install the wheel of {wheel} for that CUDA, or, where the framework is for another CUDA "
        "or "
        "for none, the build of what asks for {library} that belongs to it",
        look_up("library", holders.CUDA_LIBRARIES, "what", "wheel"),
    ),
    known(
        "missing-library",
        _LIB + _MISSING,
        "the shared library {library} is missing: {what}",
        "install {wheel}, or the build that does without it",
        look_up("library", holders.WHEEL_LIBRARIES, "what", "wheel"),
    ),
    known(
        "missing-library",
        _LIB + _MISSING,
        "the shared library {library} is missing",
        "add the OS package {package}, which holds {library}{listed}",
        _os_package,
    ),
    known(
        "missing-library",
        _LIB + _MISSING,
        "the shared library {library} is missing",
        "install the package that holds {library}, or the build of the framework without it",
    ),
    known(
        "missing-library",
        rf"(?:Library |load library ){_Q}?(?P<library>lib[\w.+-]+?){_Q}? (?:is )?(?:not found|"
        rf"cannot "
        r"be|could not be)",
        "the shared library {library} is missing: {what}",
        "install the wheel of {wheel} for that CUDA, and let the program find it, or take the "
        "build "
        "for the CUDA that is there",
        look_up("library", holders.CUDA_LIBRARIES, "what", "wheel"),
    ),
    known(
        "missing-library",
        r"(?P<library>lib\w+\.so)[^\n]{0,12} not found in the system path",
        "the shared library {library} is missing: {what}",
        "install the wheel of {wheel} that the framework pins",
        look_up("library", holders.CUDA_LIBRARIES, "what", "wheel"),
    ),
    known(
        "missing-library",
        r"Please make sure (?P<library>libcudnn[\w.]*) is in your library path|"
        r"(?:failed to open|Failed to load) (?P<other>lib(?:cu|nv)[\w.-]+)|"
        r"Unable to load (?P<name>cuDNN|cuPTI|cuSPARSE|cuBLAS|cuSOLVER|cuFFT)\b",
        "a library of CUDA cannot be found: {library}{other}{name}",
        "install its wheel (nvidia-cudnn, nvidia-cuda-nvrtc, ...) of the release that the "
        "framework "
        "pins, and take other copies off LD_LIBRARY_PATH",
    ),
    known(
        "missing-library",
        r"(?P<name>sndfile|PortAudio|libsndfile) library not found|no library called "
        rf"{_Q}(?P<called>[\w.-]+){_Q}|failed to find (?P<found>lib\w+)|Unable to find "
        rf"(?P<zbar>zbar) "
        r"shared library|(?P<espeak>espeak(?:-ng)?) not installed on your system",
        "the library {name}{called}{found}{zbar}{espeak} of the operating system is missing",
        "add its OS package: libsndfile1, libportaudio2, libcairo2, libpango-1.0-0, libmagic1, "
        "libzbar0, espeak-ng or the like",
    ),
)

# --- What was built for another: companions, CUDA, protobuf, NumPy

_BUILDS = (
    # torchcodec tries one FFmpeg after the other, and the last attempt is seldom the reason.
    known(
        "companion-build",
        _UNDEFINED.format(r"\w*" + holders.FRAMEWORK_SYMBOL),
        "{library} cannot be loaded: it was built for another build of the framework",
        _OTHER_BUILD,
        supports=r"Could not load (?:lib)?torchcodec|Could not load this library: .*torchcodec",
    ),
    known(
        "missing-library",
        r"(?<![\w.+-])(?=[\w.+-]*?\.so)(?P<library>lib(?!av(?:codec|device|filter|format|util)\.)"
        r"[\w.+-]++)" + _MISSING,
        "the shared library {library} is missing: {what}",
        "install the wheel of {wheel} for that CUDA, or the companion's build without CUDA",
        look_up("library", holders.CUDA_LIBRARIES, "what", "wheel"),
        supports=r"Could not load (?:lib)?torchcodec|Could not load this library: .*torchcodec",
    ),
    known(
        "missing-library",
        r"(?<![\w.+-])(?P<library>lib(?:av|sw)\w++\.so[\w.]*+)" + _MISSING,
        "FFmpeg's libraries are missing ({library} was tried)",
        "add the OS package ffmpeg, of a major version that the companion knows; if it is there, "
        "install the companion's release that belongs to the framework",
        supports=r"Could not load (?:lib)?torchcodec|Could not load this library: .*torchcodec",
    ),
    known(
        "operator-missing",
        r"operator (?P<operator>[\w:]+) does not exist|No such operator (?P<other>[\w:]+)|"
        r"Op type not registered '(?P<op>\w+)'|"
        r"'_OpNamespace' '(?P<space>\w+)' object has no attribute '(?P<name>\w+)'",
        "the operator {operator}{other}{op}{space} {name} is not registered: a companion library "
        "was "
        "built for another build of the framework, or is not loaded",
        "install the companion library from the same index as the framework, for the same "
        "accelerator",
    ),
    known(
        "companion-build",
        r"(?m)^OSError: (?:Could not load this library: )?[^\n]{0,300}/libtorchtext\.so",
        "libtorchtext.so cannot be loaded: it was built for another torch. No release of torchtext "
        "after 0.18.0 exists, which is for torch 2.3",
        "do without torchtext, or take torch 2.3",
    ),
    known(
        "companion-build",
        # At the start of a line: torchao warns in similar words where all is well.
        r"(?m)^OSError: Could not load this library: (?:[^\n]{0,300}/)?(?P<library>[\w.-]+\.so)",
        "{library} cannot be loaded: it was built for another build of the framework",
        _OTHER_BUILD,
    ),
    known(
        "companion-build",
        r"Could not load (?P<library>lib\w+)\. Likely causes",
        "{library} cannot be loaded: it does not fit this build of the framework, or a library "
        "that "
        "it needs is missing",
        _OTHER_BUILD + "; add what it needs of the OS, such as ffmpeg",
    ),
    known(
        "companion-build",
        r"Detected that (?P<framework>\w+) and (?P<library>\w+) were compiled with different CUDA"
        r"(?: major)?\s+versions",
        "{library} and {framework} are built for different CUDA",
        "install the {library} of the same release and CUDA as {framework}, from the same index",
    ),
    known(
        "companion-build",
        r"Could not run '(?P<operator>[\w:.]+)' with arguments from the '(?P<backend>CUDA|XPU|HIP)'"
        r" backend",
        "{operator} has no code for {backend}: a build without it was installed beside a framework "
        "that has it",
        _OTHER_BUILD,
    ),
    known(
        "companion-build",
        r"Couldn't load custom C\+\+ ops|Failed to load (?:custom )?C\+\+ (?:extension|ops)|"
        r"can't load C\+\+/CUDA extensions",
        "the compiled part of a companion library cannot be loaded: it was built for another "
        "build of "
        "the framework",
        _OTHER_BUILD,
    ),
    known(
        "companion-build",
        r"\b(?P<library>\w++) was built for:|built for PyTorch (?P<built>\S+)|No operator found "
        r"for "
        r"`(?P<op>\w+)`",
        "a companion library was built for another release of the framework, and so has no code "
        "for "
        "what is asked",
        _OTHER_BUILD,
        supports=r"No operator found for|NotImplementedError",
    ),
    known(
        "companion-build",
        r"jaxlib version (?P<have>\S+) is (?:newer|older) than and incompatible with jax version "
        r"(?P<other>[\d.]+\d)|jaxlib is version (?P<lib>\S+), but this version of jax requires",
        "jax and jaxlib are of releases that do not belong together",
        "install jax and jaxlib of one release",
    ),
    known(
        "companion-build",
        r"plugin (?P<library>\w+) version (?P<have>\S+) is installed, but it is not compatible "
        r"with",
        "{library} {have} does not belong to the framework that is installed",
        "install {library} of the same release as the framework",
    ),
    known(
        "companion-build",
        r"Configured CUDA binary not found at (?:[^\n]{0,300}/)?(?P<library>lib[\w.-]+\.so)|CUDA "
        r"Setup failed "
        r"despite (?:CUDA|GPU) being available",
        "a companion library has no build for the CUDA of the framework {library}",
        "take a newer release of the companion library, or a framework for a CUDA that it knows",
    ),
    known(
        "mixed-install",
        r"partially initialized module '(?P<package>cv2)[\w.]*' has no attribute '(?P<name>\w+)'",
        "the files of two OpenCV distributions are mixed",
        "uninstall all of opencv-python, opencv-python-headless and opencv-contrib-python, and "
        "install one",
    ),
    known(
        "companion-build",
        r"partially initialized module '(?P<package>[\w.]+)' has no attribute '(?P<name>\w+)'",
        "{package} broke off while it was imported: it does not belong to the framework that is "
        "installed (or a file of that name hides it)",
        "install the release of {package} that belongs to the framework, from the same index, for "
        "the same accelerator; rename a file of your own that is called like it",
    ),
    known(
        "companion-build",
        r"cannot import name '(?P<name>_C\w*|_ext|_cext|\w+_ext|_core_cy)' from "
        r"(?:partially initialized module )?'(?P<package>[\w.]+)'|name '(?P<global>_C)' is not "
        r"defined",
        "the compiled part {name}{global} of a library ({package}) is not there: it was not "
        "built, or "
        "for another framework",
        "install the release of it that was built for this framework, Python and accelerator",
    ),
    known(
        "companion-build",
        r"No module named '(?P<package>[\w.]+)\.(?P<name>_C\w*|_ext\w*|_cext|_kernels?|"
        r"\w+_(?:cuda|ext))'",
        "the compiled part {name} of {package} is not there: it was not built, or for another "
        "framework",
        "install the release of {package} that was built for this framework, Python and "
        "accelerator",
    ),
    known(
        "cpu-only-build",
        r"not compiled with CUDA enabled|not built with CUDA(?! kernel)|was not compiled with CUDA|"
        r"(?:installed|built|compiled) without (?:CUDA|GPU) support|"
        r"[Nn]ot been built with (?:CUDA|GPU|TensorRT) support",
        "the installed build is for the CPU only, and CUDA is asked of it",
        "install the build for CUDA, from the index of that variant; or do not ask for CUDA",
    ),
    known(
        "protobuf-mismatch",
        r"Protobuf Gencode/Runtime versions[^\n]{0,300}gencode (?P<gencode>[\d.]+\d) "
        r"runtime (?P<runtime>[\d.]+\d)",
        "a module made for protobuf {gencode} meets protobuf {runtime}",
        "pin the release of it that was made for the protobuf of the framework",
    ),
    known(
        "protobuf-mismatch",
        r"Descriptors cannot (?:not )?be created directly",
        "a module was made by protoc before 3.19, and the installed protobuf is too new for it",
        'pin "protobuf<3.21", or take a release of the module that was made for the newer protobuf',
    ),
    known(
        "protobuf-mismatch",
        r"cannot import name '(?P<name>builder|runtime_version|\w*)' from 'google\.protobuf[\w.]*'|"
        r"module 'google\.(?:protobuf|_upb)[\w.]*' has no attribute '(?P<attribute>\w+)'|"
        r"No module named 'google\.protobuf\.(?P<module>[\w.]+)'|"
        r"'(?:MessageFactory|SymbolDatabase|FieldDescriptor|DescriptorPool|FileDescriptor|"
        r"Descriptor)' "
        r"object has no attribute '(?P<method>\w+)'",
        "the installed protobuf has no {name}{attribute}{module}{method}: it is too old for what "
        "was "
        "made with a newer one, or too new for what was made with an older one",
        "take a newer protobuf if the name is new in it (builder: 3.20, runtime_version: 5.26), an "
        "older one if it was removed, or the release of its user that fits the framework's "
        "protobuf",
    ),
    known(
        "protobuf-mismatch",
        r"This program requires version (?P<want>\S+) of the Protocol Buffer runtime library, "
        r"but the "
        r"installed version is (?P<have>\S+?)\.? ",
        "a library was made for protobuf {want}, and protobuf {have} is loaded",
        "use one release of protobuf for all that needs it",
    ),
    known(
        "protobuf-mismatch",
        r"Couldn't build proto file into descriptor pool|File already exists in database: "
        r"(?P<file>\S+)|google::protobuf::FatalException|duplicate file name (?P<other>\S+\.proto)",
        "two libraries bring the same protobuf definitions, or two protobuf runtimes are loaded",
        "use one release of protobuf; do not load both libraries in one process, or take their "
        "releases that share a protobuf",
    ),
    known(
        "numpy-abi",
        r"A module that was compiled using NumPy (?P<built>\d)\.x cannot be run in|"
        r"numpy\.(?:dtype|ufunc|ndarray|generic|flatiter|broadcast|random\.\w+)(?:\.\w+)* size "
        r"changed|"
        r"numpy\.ufunc size changed|"
        r"numpy\._?core\.(?:multiarray|umath) failed to import|"
        r"_(?:ARRAY|UFUNC)_API not found|Numpy is not available|"
        r"module (?:was )?compiled against (?:ABI|API) version|"
        r"Importing the numpy C-extensions failed|Error importing numpy: |"
        r"Unable to import required dependencies:\s+numpy|"
        r"expected np\.ndarray \(got numpy\.ndarray\)",
        "NumPy is missing, or its binary interface is another than the one compiled against",
        "pin NumPy to the major version the framework was built for (numpy<2 for what was built "
        "before 2024), or take a release that was built for the NumPy installed",
    ),
    known(
        "numpy-abi",
        r"_(?:ARRAY|UFUNC)_API not found|compiled using NumPy 1\.x cannot be run",
        "a library was built for NumPy 1, and NumPy 2 is installed",
        "pin NumPy to the major version the library was built for (numpy<2), or take a release "
        "of it "
        "that was built for NumPy 2",
        supports=r"^SystemError: initialization of \w+ raised unreported exception|"
        r"multiarray failed to import|Numpy is not available|^ImportError: *$|"
        r"^ImportError: numpy",
    ),
    known(
        "binary-mismatch",
        r"(?<![\w.])(?P<module>[\w.]++) size changed, may indicate binary incompatibility",
        "{module} has another binary layout than a compiled module was built for",
        "install the releases that were built for each other, or build the module again",
    ),
    known(
        "cuda-mismatch",
        r"Loaded runtime CuDNN library: (?P<have>[\d.]+\d) but source was compiled with: "
        r"(?P<want>[\d.]+\d)",
        "cuDNN {have} was loaded, and the build was made for cuDNN {want}",
        "install nvidia-cudnn {want} or a newer one of the same major version, and take other "
        "cuDNN "
        "off LD_LIBRARY_PATH",
        supports=r"(?i)dnn|FailedPrecondition|Unimplemented|Internal|algorithm|Graph execution|"
        r"FAILED_PRECONDITION|Loaded runtime",
    ),
    known(
        "cuda-mismatch",
        r"Could not load library (?P<library>libcudnn[\w.]*)\. Error: [^\n]{0,300}undefined symbol|"
        r"Unable to load any of \{(?P<other>libcudnn[\w.]*)",
        "two different cuDNN are loaded: {library}{other} does not belong to the others",
        "keep one cuDNN: remove the others from LD_LIBRARY_PATH and from the OS, and install the "
        "nvidia-cudnn that the framework pins",
        supports=r"(?i)dnn|engine to execute|convolution|cuda",
    ),
    known(
        "cuda-mismatch",
        r"The detected CUDA version \((?P<have>[\d.]+)\) mismatches the version that was used to "
        r"compile (?P<framework>\w+) \((?P<want>[\d.]+)\)",
        "the CUDA toolkit is {have}, and {framework} was made for CUDA {want}",
        "install the CUDA toolkit {want}, or the {framework} for CUDA {have}",
    ),
    known(
        "cuda-mismatch",
        r"cuDNN version incompatibility: \w+ was compiled\s+against\s+\((?P<want>[\d, ]+)\) but "
        r"found "
        r"runtime version\s+\((?P<have>[\d, ]+)\)",
        "the CUDA libraries that were loaded are not those the build was made for: cuDNN ({have}) "
        "instead of ({want})",
        "remove other cuDNN from LD_LIBRARY_PATH, and install the nvidia-cudnn that the framework "
        "pins",
    ),
    known(
        "cuda-mismatch",
        r"CUDA (?:version )?mismatch|cuDNN version incompatibility|"
        r"CUDNN_STATUS_(?:SUBLIBRARY_)?(?:VERSION_MISMATCH|NOT_INITIALIZED|LOADING_FAILED|"
        r"ARCH_MISMATCH)",
        "the CUDA libraries that were loaded are not those the build was made for",
        "remove other CUDA libraries from the path, and install the pinned ones",
    ),
)

# --- GPU, driver, processor

_MACHINE = (
    known(
        "shared-memory",
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) is killed by signal: Bus error|"
        r"insufficient shared memory|Unexpected bus error encountered in worker",
        "the workers' shared memory (/dev/shm) is too small",
        _SHM,
    ),
    known(
        "shared-memory",
        r"insufficient shared memory|Unexpected bus error encountered in worker|"
        r"(?:segment|extend|file|write to|open) [^\n]{0,80}/dev/shm/",
        "the shared memory (/dev/shm) is too small",
        _SHM,
        supports=r"DataLoader worker|(?i:nccl)|Bus error|[Ss]hared memory",
    ),
    known(
        "shared-memory",
        r"unable to (?:write to|mmap|open|resize)[^\n]{0,80}</torch_|shared memory object </torch_|"
        r"No space left on device:? '?/(?:dev/shm|psm_|torch_)|[Ff]ailed to (?:create|open|extend) "
        r"[^\n]{0,60}(?:/dev/shm|shared memory)|/dev/shm/nccl-[^\n]{0,300}",
        "the shared memory (/dev/shm) is full or cannot be used",
        _SHM,
    ),
    known(
        "shared-memory",
        r"(?m)_multiprocessing\.SemLock|Permission denied: '/dev/shm|"
        r"/dev/shm[^\n]{0,60}(?:Read-only|"
        r"No such file)",
        "there is no shared memory (/dev/shm) to write to",
        "mount /dev/shm writable in the container (--shm-size, --tmpfs /dev/shm)",
    ),
    known(
        "out-of-memory",
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) is killed by signal: Killed|"
        r"was sent SIGKILL! Perhaps out of memory|node running low on memory|"
        r"fatal error: Killed signal terminated program",
        "the memory did not suffice: the kernel killed a process for it",
        "give the container more memory, or use fewer or smaller processes",
    ),
    known(
        "no-kernel-image",
        r"ptxas fatal +: Value '(?P<arch>sm_\w+)' is not defined|"
        r"Unsupported gpu architecture '(?P<nvcc>compute_\w+)'|"
        r"ptxas does not support CC (?P<cc>[\d.]+\d)|invalid value for --gpu-architecture",
        "CUDA's compiler here does not know this GPU {arch}{nvcc}{cc}: it is older than the GPU",
        "take the framework for a newer CUDA, whose compiler knows the GPU",
    ),
    known(
        "no-kernel-image",
        r"ptxas fatal +: Value '(?P<arch>sm_\w+)' is not defined|"
        r"Unsupported gpu architecture '(?P<nvcc>compute_\w+)'|"
        r"ptxas does not support CC (?P<cc>[\d.]+\d)",
        "CUDA's compiler here does not know this GPU {arch}{nvcc}{cc}: it is older than the GPU",
        "take the framework for a newer CUDA, whose compiler knows the GPU",
        supports=r"(?i)compil|build|ninja|ptx|returned non-zero",
    ),
    known(
        "no-kernel-image",
        r"Unsupported \.version (?P<want>[\d.]+\d); current version is '(?P<have>[\d.]+)'",
        "the code for the GPU is in PTX {want}, and CUDA's compiler here knows PTX up to {have}",
        "use the ptxas of the framework's own CUDA: take an older one off PATH, or unset "
        "TRITON_PTXAS_PATH",
    ),
    known(
        "no-kernel-image",
        r"PTX was compiled with an unsupported toolchain|CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        "the code for this GPU has to be compiled from PTX of a newer CUDA than the driver knows",
        "update the driver to one for the CUDA of the build, or take a build for an older CUDA, or "
        "one that holds code for this GPU's architecture",
    ),
    known(
        "no-kernel-image",
        r" with CUDA capability (?P<arch>sm_\d+\w?) is not compatible|"
        r"not built with CUDA kernel binaries compatible with compute capability (?P<cc>[\d.]+\d)",
        "the build holds no code for this GPU's architecture {arch}{cc}",
        "take a build whose architectures include this GPU's: a newer one (for a newer CUDA) for a "
        "new GPU, an older one for an old GPU",
        supports=r"no kernel image|kernel image is invalid|CUDA_ERROR_(?:INVALID_(?:PTX|HANDLE|"
        r"IMAGE|SOURCE)|NO_BINARY_FOR_GPU)|not compatible with the current",
    ),
    known(
        "no-kernel-image",
        r"CUDA_ERROR_INVALID_PTX|CUDA_ERROR_NO_BINARY_FOR_GPU|CUDA_ERROR_INVALID_(?:IMAGE|SOURCE)",
        "the build holds no code for this GPU's architecture, and its PTX cannot be compiled for "
        "it",
        "take a build whose architectures include this GPU's: a newer one (for a newer CUDA) for a "
        "new GPU, an older one for an old GPU",
        supports=r"CUDA_ERROR_|(?i:cuda|gpu|ptx)",
    ),
    known(
        "no-kernel-image",
        r"no kernel found to launch|"
        r"no kernel image is available|device kernel image is invalid|CUDA_ERROR_INVALID_PTX|"
        r"CUDA_ERROR_NO_BINARY_FOR_GPU|CUDA_ERROR_INVALID_(?:IMAGE|SOURCE)|"
        r"is not compatible with the current \w+ installation|no longer supports this GPU|"
        r"a PTX JIT compilation failed|not supported on this GPU architecture|"
        r"TensorFlow was not built with CUDA kernel binaries compatible",
        "the build holds no code for this GPU's architecture",
        "take a build whose architectures include this GPU's: a newer one (for a newer CUDA) for a "
        "new GPU, an older one for an old GPU",
    ),
    known(
        "no-kernel-image",
        r"(?P<what>FlashAttention)[\w-]* (?:only )?(?:forward )?(?:only )?supports? "
        r"(?P<need>\w+) GPUs|"
        r"which is too old to be supported by the (?P<triton>triton) GPU compiler|"
        r"is only supported on GPUs with compute capability (?:of at least|>=) (?P<cc>[\d.]+\d)|"
        r"requires? (?:a GPU with )?compute capability (?:of at least|>=) ?(?P<cc2>[\d.]+\d)",
        "this GPU is older than {what}{triton} needs {need}{cc}{cc2}",
        "use a newer GPU, or settings that do without: another attention, float16, no compilation",
    ),
    known(
        "driver-too-old",
        r"NVIDIA driver on your system is too old \(found version (?P<number>\d{4,6})\)",
        "the NVIDIA driver is older than the CUDA of this build needs: it is for CUDA {cuda}",
        "update the driver, or take a build for CUDA {cuda} or older",
        _cuda_number,
    ),
    known(
        "driver-too-old",
        r"requirement error: (?:unsatisfied condition: )?(?P<need>(?:cuda|driver) ?[<>=]+ "
        r"?[\d.]+\d)",
        "the NVIDIA driver of the host is older than the image asks for: {need}{driver}",
        "update the driver of the host to one for {need}, or take the build for an older CUDA",
        _driver_for_cuda,
    ),
    known(
        "driver-too-old",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|"
        r"CUDA_ERROR_INSUFFICIENT_DRIVER|cudaErrorInsufficientDriver|"
        r"driver version is too old|Please update your GPU driver",
        "the NVIDIA driver is older than the CUDA of this build needs",
        "update the driver, or take a build for an older CUDA",
    ),
    known(
        "driver-too-old",
        r"forward compatibility was attempted on non supported HW|"
        r"CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE|(?:CUDA (?:failure|error) |Error )804\b",
        "the driver is older than this CUDA, and the libraries that could bridge that "
        "(cuda-compat) "
        "do not serve this GPU",
        "update the driver to one for the CUDA of the build, or take a build for an older CUDA; or "
        "take cuda-compat off LD_LIBRARY_PATH (/usr/local/cuda/compat)",
    ),
    known(
        "driver-too-old",
        r"unsupported display driver / cuda driver combination|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH|"
        r"Error 803\b",
        "the kernel's part of the driver and its libraries are of different releases, or too old "
        "for "
        "this CUDA",
        "update the driver and restart the machine; take cuda-compat and copies of libcuda off "
        "LD_LIBRARY_PATH",
    ),
    known(
        "driver-missing",
        r"CUDA driver initialization failed|CUDA unknown error - this may be due to an "
        r"incorrectly set "
        r"up environment|Failed to initialize NVML: Unknown Error|CUDA_ERROR_UNKNOWN: unknown "
        r"error|"
        r"CUDA_ERROR_NOT_INITIALIZED",
        "CUDA's driver could not start in this process, although a part of it is here",
        "load the nvidia_uvm module on the host (nvidia-modprobe -u), and start the container "
        "again: "
        "it loses the GPU when the host's services are reloaded",
    ),
    known(
        "driver-mismatch",
        r"[Dd]river/library version mismatch",
        "the kernel's part of the driver and its libraries are of different releases",
        "restart the machine (or reload the kernel modules), so that the updated driver runs",
    ),
    known(
        "driver-missing",
        r"Error 802\b|system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY",
        "a part of the driver does not run: on machines with NVSwitch the Fabric Manager",
        "install and start nvidia-fabricmanager of the same release as the driver, then try again",
    ),
    known(
        "driver-too-old",
        r"Error 500: named symbol not found|cudaGetDeviceCount[^\n]{0,300}named symbol not found|"
        r"cuInit[^\n]{0,300}named symbol not found",
        "the driver's library lacks what this CUDA asks of it",
        "update the driver, on WSL2 that of Windows, and Docker Desktop or the NVIDIA Container "
        "Toolkit, which bring its libraries into the container",
    ),
    known(
        "driver-missing",
        r"Found no NVIDIA driver|driver is a stub library|CUDA driver is not installed|"
        r"No such file or directory: '?(?:/\S*/)?nvidia-smi|nvidia-smi: (?:command )?not "
        r"found|couldn't communicate with the NVIDIA driver|NVML Shared Library Not Found|"
        r"nvml error: driver not loaded|load library failed: libnvidia|Driver Not Loaded|"
        r"no adapters were found",
        "there is no NVIDIA driver here, or it does not reach the container",
        "install the driver on the host, and start the container with its GPUs (--gpus all, NVIDIA "
        "Container Toolkit)",
    ),
    known(
        "no-gpu",
        r"No CUDA GPUs are available|no CUDA-capable device is detected|CUDA_ERROR_NO_DEVICE|"
        r"invalid device ordinal|unknown device id|CUDA_VISIBLE_DEVICES is set but empty|"
        r"No (?:NVIDIA )?GPUs? (?:is |are )?(?:found|available|detected|visible)|"
        r"No supported gpu backend found|but torch\.cuda\.is_available\(\) is False",
        "the program sees no GPU, or not the one it asks for",
        "start it on a machine with a GPU, let the container see it (--gpus all), and check "
        "CUDA_VISIBLE_DEVICES",
    ),
    known(
        "driver-too-old",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|"
        r"forward compatibility was attempted|CUDA_ERROR_COMPAT_NOT_SUPPORTED|"
        r"unsupported display driver|Error 500: named symbol not found",
        "CUDA could not start, as the driver does not suit it (see the earlier line)",
        "update the driver, or take a build for an older CUDA; take cuda-compat off "
        "LD_LIBRARY_PATH",
        supports=_GPU,
    ),
    known(
        "driver-missing",
        r"Error 802: system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY|Found no NVIDIA driver|"
        r"Could not load dynamic library 'libcuda\.so|libcuda\.so[\w.]*: cannot open|"
        r"Could not find cuda drivers",
        "CUDA could not start: the driver, or a part of it, is missing (see the earlier line)",
        "install the driver on the host, let it reach the container (--gpus all), and start "
        "nvidia-fabricmanager where there is NVSwitch",
        supports=_GPU,
    ),
    known(
        "missing-library",
        r"Could not load dynamic library '(?P<library>lib[\w.+-]+)'|"
        r"with error: (?P<other>lib[\w.+-]+): cannot open shared object|"
        r"Cannot dlopen some GPU libraries",
        "libraries of CUDA are missing, so the framework does not use the GPU {library}{other}",
        "install the CUDA libraries that the framework was made for (its extra for CUDA), and let "
        "it find them",
        supports=_GPU,
    ),
    known(
        "cpu-too-old",
        r"compiled to use (?P<lacks>[\w., -]+?) instructions|built using (?P<built>[\w., ]+?) "
        r"instructions, which your CPU|"
        r"baseline optimizations: \((?P<baseline>[\w .,]+)\) but your machine doesn't support|"
        r"required CPU features were not detected:\s*(?P<features>[\w ,.]+)|"
        r"(?:CPU|processor|machine) (?:does not|doesn't|must) support (?P<other>[\w ./]+)|"
        r"minimum requirements for use of the Intel",
        "the processor lacks instructions that the build uses: {lacks}{built}{baseline}{features}"
        "{other}",
        "run it on a newer processor (a virtual machine has to pass its features on), or take a "
        "build without these instructions",
    ),
    known(
        "out-of-memory",
        r"CUDA out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|"
        r"cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|"
        r"HIP out of memory|No available memory for the cache blocks|"
        r"is less than desired GPU memory utilization|OOM when allocating|RESOURCE_EXHAUSTED|"
        r"ResourceExhaustedError",
        "the memory did not suffice: that of the GPU, or what was allowed of it",
        _MEMORY_OF_GPU,
    ),
    known(
        "out-of-memory",
        r"MemoryError|out of memory|DefaultCPUAllocator: (?:can't allocate|not enough) memory|"
        r"std::bad_alloc|Cannot allocate memory|[Uu]nable to allocate \S+ (?:[KMGT]i?B|bytes)|"
        r"virtual memory exhausted|[Ff]ailed to allocate (?:memory|\d+ bytes)|"
        r"not enough memory: you tried",
        "the memory did not suffice",
        "give it more memory, or less to do",
    ),
)

# --- What is not there: compilers, programs, modules, a newer Python

_TOOLS = (
    known(
        "no-wheel",
        r"require a different python version: (?P<ignored>[^\n]{1,1000})\n(?:[^\n]{0,1000}\n){0,3}"
        r"[^\n]{0,100}No matching distribution found for [^\n=]{1,100}==(?P<version>[^\s,;]{1,50})",
        "the release {version} is for another Python (it asks for {python})",
        "take a Python that the release is for, or an older release",
        _python_of_release,
    ),
    known(
        "no-such-version",
        r"Could not find a version that satisfies the requirement (?P<wanted>\S[^\n(]{0,200}?) "
        r"\(from versions: (?!none\))(?P<versions>[^\n)]*)",
        "no index that pip asked has {wanted} for this Python and this machine; the releases there "
        "are {versions}",
        "take one of these releases, or give pip an index that has the other "
        "(`python -m pip config list` shows which ones it asks)",
    ),
    known(
        "no-such-package",
        r"No matching distribution found for (?P<wanted>[^\n]{1,200})",
        "no index that pip asked has {wanted} in any form that fits this Python and this machine",
        "check the name, that the package has a wheel for this Python and machine, and the indexes "
        "(`python -m pip config list` shows which ones pip asks)",
    ),
    known(
        "no-such-package",
        r"E: Unable to locate package (?P<package>[\w.+-]{1,100})|"
        r"E: Package '(?P<other>[\w.+-]{1,100})' has no installation candidate",
        "this operating system has no package {package}{other}",
        "correct the name under packages in the matrix (https://packages.debian.org and "
        "https://packages.ubuntu.com search by release and by file)",
    ),
    known(
        "compiler-missing",
        r"(?P<header>Python|pyconfig|omp|cuda|cuda_runtime|cudnn|cublas_v2|zlib|ffi|openssl/ssl|"
        r"crypt|sndfile|portaudio)\.h: No such file",
        "a part of the program is compiled when it is used, and {header}.h is missing for that",
        "add g++ and the headers: libpython3-dev (python3-dev) for Python.h, the CUDA toolkit for "
        "cuda.h, the -dev package of the library for another; in a matrix, "
        "packages: [g++, libpython3-dev] of the framework",
        supports=r"(?i)compil|CalledProcessError|gcc|g\+\+|ninja|backend=|subprocess|extension|"
        r"\.h: No such file",
    ),
    known(
        "compiler-missing",
        r"InvalidCxxCompiler|No working C\+\+ compiler|Error checking compiler version|"
        r"Could not find (?:a )?(?:C\+\+ compiler|g\+\+)",
        "part of the program is compiled when it is used, and there is no C++ compiler",
        "add g++ and Python's headers to the image (apt: g++ and libpython3-dev; in a matrix, "
        "packages: [g++, libpython3-dev] of the framework), or do "
        'without compiling: torch.compile(backend="eager")',
    ),
    known(
        "compiler-missing",
        r"TritonMissing|Cannot find a working triton installation",
        "code for the GPU is compiled when it is used, and no Triton that works is installed",
        "install the triton that belongs to the framework, and g++ and Python's headers (apt: g++ "
        "and libpython3-dev), which it needs",
    ),
    known(
        "compiler-missing",
        r"Failed to find C compiler|unable to execute '(?P<compiler>\S*(?:gcc|g\+\+|cc))'|"
        r"command '(?P<other>\S*(?:gcc|g\+\+|cc|c\+\+))' failed: No such file|"
        r"(?P<shell>gcc|g\+\+|cc|c\+\+|cc1plus|clang): (?:command )?not found|"
        r"No (?:C|C\+\+|CMAKE_CXX_COMPILER|CMAKE_C_COMPILER) (?:compiler )?could be found|"
        r"no acceptable C compiler",
        "part of the program is compiled when it is used, and there is no C compiler",
        "add gcc, g++ and Python's headers to the image (apt: g++ and libpython3-dev), or set CC "
        "to "
        "a compiler",
    ),
    known(
        "compiler-missing",
        r"Cannot find (?P<tool>ptxas|nvcc|nvlink)|(?:[Cc]ould(?: not|n't) (?:find|get|invoke) "
        r"(?P<other>ptxas|nvcc))|(?P<home>CUDA_HOME) environment variable is not set|"
        r"(?P<lib>libdevice)(?:\.10\.bc)? (?:is required|not found)|Can't find (?P<dir>libdevice)|"
        r"(?P<shell>nvcc|ptxas): (?:command )?not found|ptxas exited with non-zero error|"
        r"No PTX compilation provider is available",
        "code for the GPU is compiled when it is used, and a part of CUDA's compiler is missing: "
        "{tool}{other}{home}{lib}{dir}{shell}",
        "add CUDA's compiler of the framework's CUDA (nvidia-cuda-nvcc, or the toolkit), and point "
        "CUDA_HOME or XLA_FLAGS=--xla_gpu_cuda_data_dir at it",
    ),
    known(
        "compiler-missing",
        r"cannot find -l(?P<library>[\w.+-]+)",
        "a part of the program is compiled when it is used, and lib{library} is missing for that",
        "add the -dev package that holds lib{library} (libpython3-dev for python3), or CUDA's "
        "toolkit "
        "and the driver's libcuda for cuda",
        supports=r"(?i)compil|CalledProcessError|gcc|g\+\+|ninja|backend=|extension|cannot find -l",
    ),
    known(
        "compiler-missing",
        r"(?P<tool>Ninja) is required to load C\+\+ extensions|"
        r"(?P<cmake>CMake|cmake) (?:must be installed|is required|not found)",
        "an extension is compiled when it is used, and {tool}{cmake} is missing",
        "add ninja, cmake and g++ to the image",
    ),
    known(
        "compiler-missing",
        r"No such file or directory: b?'(?P<program>[\w./+-]+)'",
        "part of the program is compiled when it is used, and the program {program} is missing",
        "add {package} to the image",
        look_up("program", holders.COMPILERS, "package"),
    ),
    known(
        "program-missing",
        r"No such file or directory: b?'(?P<program>[\w./+-]+)'",
        "the program {program} is missing",
        "add the OS package {package} to the image",
        look_up("program", holders.PROGRAMS, "package"),
    ),
    known(
        "program-missing",
        r"(?<![\w./+-])(?P<program>[\w./+-]++): (?:command )?not found(?!\w)",
        "the program {program} is missing",
        "add the OS package {package} to the image",
        look_up("program", holders.PROGRAMS, "package"),
    ),
    known(
        "program-missing",
        r"env: [\u2018'\"]?(?P<program>[\w.-]+)[\u2019'\"]?: No such file|"
        r"exec: \\?\"(?P<other>[\w./-]+)\\?\": (?:executable file not found|stat)",
        "the program {program}{other} is missing in the image",
        "add it to the image, or correct PATH",
    ),
    known(
        "program-missing",
        r"PDFInfoNotInstalledError|Unable to get page count|TesseractNotFoundError|"
        r"ExecutableNotFound: failed to execute",
        "a program of the operating system is missing",
        "add its OS package to the image: poppler-utils, tesseract-ocr, graphviz or the like",
    ),
)

_MODULES = (
    known(
        "module-shadowed",
        r"No module named '(?P<module>[\w.]+)'; '(?P<package>[\w.]+)' is not a package|"
        r"consider renaming '(?P<path>[^'\n]+)'",
        "a file of your own hides the library that is asked for: {package}{path}",
        "rename the file that is called like the library",
    ),
    known(
        "module-removed",
        r"No module named '?(?P<module>pkg_resources)[\w.]*'?",
        "{module} is gone: setuptools 82 removed it",
        'pin "setuptools<82"',
    ),
    known(
        "module-removed",
        _NO_MODULE,
        "{module} is gone: Python {python} removed it",
        "take Python {last} or older{hint}, or take a newer release of what imports it",
        look_up("module", holders.REMOVED_FROM_PYTHON, "python", "last", "hint"),
    ),
    known(
        "python-too-old",
        _NO_MODULE,
        "{module} came with Python {python}, and this Python is older",
        "take Python {python} or newer, or an older release of what imports it",
        look_up("module", holders.ADDED_TO_PYTHON, "python"),
    ),
    known(
        "python-incomplete",
        _NO_MODULE,
        "this Python was built without {module}",
        "take a Python that has it, or build it again where {package} is installed",
        look_up("module", holders.BUILT_WITH, "package"),
    ),
    known(
        "module-removed",
        _NO_MODULE,
        "{package} is installed, and has no module {module}: another release of it has",
        "{hint}" + _BOTH_WAYS,
        _not_a_namespace,
    ),
    known(
        "module-missing",
        _NO_MODULE,
        "the module {module} is not installed",
        "add the distribution that holds {module}: {distribution}",
        _distribution,
    ),
    known(
        "module-missing",
        r"requires? the following packages that were not found in your environment: "
        r"(?P<module>[\w, .-]+?)\. |"
        r"requires? the (?P<library>[\w.-]+) (?:library|package) but it was not found|"
        r"No package metadata was found for (?P<metadata>[\w.-]+)|"
        r"DistributionNotFound: The '(?P<wanted>[\w.-]+)[^']*' distribution was not found|"
        r"Missing optional dependency '(?P<optional>[\w.-]+)'|"
        r"the package (?P<package>[\w.-]+) seems to be not installed|"
        r"requires (?P<named>[\w-]+): `pip install",
        "{module}{library}{metadata}{wanted}{optional}{package}{named} is not installed",
        "add {module}{library}{metadata}{wanted}{optional}{package}{named}",
    ),
    known(
        "version-conflict",
        r"(?<![^\s])(?P<need>[\w.-]++(?:\[\w+\])?[<>=!~][\w.,<>=!~]*+) is required for a normal "
        r"functioning of this "
        r"module, but found (?P<have>[\w.=+-]+\w)|"
        r"(?:Contextual)?VersionConflict: \((?P<found>[\w. -]+?) \([^)]*\), "
        r"Requirement\.parse\('(?P<wanted>[^']+)'\)|"
        r"needs (?P<needs>NumPy [\d.]+ or (?:less|greater))\. Got (?P<got>NumPy [\w.]+\w)",
        "{need}{wanted}{needs} is asked for, and {have}{found}{got} is installed",
        "install {need}{wanted}{needs}, or the release of what asks for it that fits",
    ),
    known(
        "version-conflict",
        r"\b(?P<who>\w++) requires version '(?P<need>[\w.]+)' or newer of '(?P<what>[\w.-]+)'|"
        r"\b(?P<who2>\w++) is incompatible with (?P<what2>[\w.-]++ ?[<>=!~]{1,2} ?[\w.]+\w)",
        "{who}{who2} does not fit the {what}{what2} that is installed: it asks for {need} "
        "another one",
        "install the {what} {need} that it asks for, or another release of {who}{who2}",
    ),
    known(
        "module-removed",
        r"type object '(?P<package>[\w]+\.[\w.]+)' has no attribute '(?P<name>\w+)'",
        "{package} has no {name}: it was removed from a newer release, or is not yet in this one",
        _BOTH_WAYS,
    ),
    known(
        "no-wheel",
        r"(?<![\w.+-])(?=[\w.+-]*?\.whl)(?P<wheel>[\w.+-]++) is not a supported wheel on this "
        r"platform",
        "{wheel} is made for another Python, C library or architecture than this one",
        "take the file whose tags fit this Python and machine",
    ),
    known(
        "python-too-old",
        _CANNOT_IMPORT,
        "{package} has {name} from Python {python} on, and this Python is older",
        "take Python {python} or newer, or an older release of what imports it",
        _added_name,
    ),
    known(
        "python-too-old",
        _HAS_NO,
        "{package} has {name} from Python {python} on, and this Python is older",
        "take Python {python} or newer, or an older release of what imports it",
        _added_name,
    ),
    known(
        "module-removed",
        _CANNOT_IMPORT,
        "{package} no longer has {name}: Python {python} removed it",
        "take Python {last} or older, or a newer release of what imports it",
        _removed_name,
    ),
    known(
        "module-removed",
        _HAS_NO,
        "{package} no longer has {name}: Python {python} removed it",
        "take Python {last} or older, or a newer release of what uses it",
        _removed_name,
    ),
    known(
        "module-removed",
        _CANNOT_IMPORT,
        "{package} no longer has {name}",
        'pin "{pin}", which still has it, or take a newer release of its user',
        _removal,
    ),
    known(
        "module-removed",
        _HAS_NO,
        "{package} no longer has {name}",
        'pin "{pin}", which still has it, or take a newer release of its user',
        _removal,
    ),
    known(
        "module-removed",
        r"`np\.(?P<name>\w+)` was removed in the NumPy (?P<release>\d)",
        "numpy no longer has {name}: NumPy {release} removed it",
        'pin "numpy<{release}", or take a newer release of its user',
    ),
    known(
        "module-removed",
        r"(?m)^(?:[\w.]+\.)?(?:\w*Import\w*|Attribute|NotImplemented)Error: "
        r"[^\n]{0,80}?`?\b(?P<name>[\w.]++)"
        r"(?:\(\))?`? (?:has been|was) (?:removed|moved)\b[^\n]{0,60}",
        "{name} is no longer where it was asked for: it was removed or moved",
        "take an older release of what held it, or a newer release of its user",
    ),
    known(
        "module-removed",
        r"'(?P<package>\w+)' object has no attribute '(?P<name>\w+)'",
        "{package} no longer has {name}",
        'pin "{pin}", which still has it, or take a newer release of its user',
        _object_removal,
    ),
    known(
        "module-missing",
        _CANNOT_IMPORT + r" \(unknown location\)",
        "{package} is an empty folder: its files are not there",
        "uninstall {package}, remove its folder, and install it again",
    ),
    known(
        "module-removed",
        r"cannot import name '(?P<name>\w+)' from partially initialized module "
        r"'(?P<package>[\w.]+)'",
        "{package} broke off while it was imported, before it had {name}: it asks for itself in a "
        "circle, or a file of that name hides it",
        "take another release of {package}; rename a file of your own that is called like it",
    ),
    known(
        "module-removed",
        _CANNOT_IMPORT,
        "{package} has no {name}: it is too old for what asks for it, or too new",
        _BOTH_WAYS,
    ),
    known(
        "module-removed",
        _HAS_NO,
        "{package} has no {name}: it was removed from a newer release, or is not yet in this one",
        _BOTH_WAYS,
    ),
    known(
        "python-too-old",
        r"'type' object is not subscriptable|'ABCMeta' object is not subscriptable|"
        r"'_?\w*GenericMeta' object is not subscriptable|"
        r"unsupported operand type\(s\) for \|: '(?:type|_GenericAlias|_UnionGenericAlias|NoneType|"
        r"_SpecialForm|types\.GenericAlias|ABCMeta|_LiteralGenericAlias|_CallableGenericAlias|"
        r"\w+Meta|EnumMeta|EnumType|TypeVar|ForwardRef)' and|"
        r"dataclass\(\) got an unexpected keyword argument '(?P<word>slots|kw_only|match_args)'|"
        r"zip\(\) takes no keyword arguments|"
        r"'str' object has no attribute 'remove(?:prefix|suffix)'|"
        r"Plain typing\.\w+ is not valid as type argument",
        "the code uses what only a newer Python has (types such as list[int] from 3.9 on, X | Y "
        "and "
        "slots from 3.10 on)",
        "take a newer Python, or an older release of what uses it",
    ),
    known(
        "python-too-old",
        r"requires a different Python: (?P<have>[\d.]+) not in '?(?P<want>[<>=!~\d.,* ]+)'?",
        "a package asks for Python {want}, and this is {have}",
        "take a Python that it supports, or a release of it that supports this one",
        _python_asked,
    ),
    known(
        "python-too-old",
        r"(?i)(?:requires?|needs|supports only) (?:at least )?python *(?:version *)?(?:>=? ?)?"
        r"(?P<want>3\.\d+)(?:\.\d+)?(?P<plus>\+| (?:or|and) (?:newer|later|higher|above|greater|"
        r"up))?|"
        r"python (?P<want2>3\.\d+) (?:or|and) (?:newer|later|higher|above|greater) is required|"
        r"python (?P<want3>3\.\d+)\+ is required|not supported on python < ?(?P<want4>3\.\d+)",
        "this Python is older than what is asked for: {want}{want2}{want3}{want4}",
        "take Python {want}{want2}{want3}{want4} or newer, or an older release of what asks for it",
    ),
    known(
        "python-too-new",
        r"(?i)python 3\.\d+\+? is not (?:yet )?supported|not supported on python 3\.\d+\+?|"
        r"Dynamo is not supported on Python 3\.\d+",
        "this Python is newer than the library supports",
        "take an older Python, or a newer release of the library",
    ),
    known(
        "python-too-new",
        r"SyntaxError: (?:Missing parentheses in call to '(?:print|exec)'|multiple exception types "
        r"must be parenthesized|invalid token|leading zeros in decimal)|"
        r"^TabError: inconsistent use of tabs",
        "the code is written for Python 2",
        "take a release of it for Python 3",
    ),
    known(
        "python-too-new",
        r"(?m)^(?: *+(?:print \S|exec \S|raise \w+, |except \w+, \w+:)|[^\n]*\basync "
        r"?=[^=])[^\n]*\n"
        r"[^\n]*\nSyntaxError: invalid syntax",
        "the code is written for an older Python than this one",
        "take a newer release of the code, or an older Python",
        supports=r"^SyntaxError",
    ),
    known(
        "python-too-old",
        r"(?m)^(?: *+(?:match [^\n]+:|case [^\n]+:|except ?\* ?\w|type \w++[^\n=]*+= |(?:async "
        r")?def \w++\[|"
        r"class \w++\[|with \(|async |await )|[^\n]*(?::=|, ?/[,)]|\bf['\"]))[^\n]*\n"
        r"(?:[^\n]*\n)?SyntaxError: |"
        r"File \"[^\"\n]*/(?:site|dist)-packages/(?P<path>[^\"\n]*)\", line \d+\n(?:[^\n]*\n){1,2}"
        r"SyntaxError: (?:invalid syntax|f-string|expected|future feature)",
        "the code {path} is written for a newer Python than this one",
        "take a newer Python, or an older release of the code",
        supports=r"^SyntaxError",
    ),
    known(
        "python-too-old",
        r"future feature (?P<name>\w+) is not defined",
        "the code asks for {name}, which only a newer Python has",
        "take a newer Python, or an older release of the code",
    ),
    known(
        "python-too-old",
        r"Python version \((?P<have>[\d.]+)\) does not satisfy Python(?P<want>[<>=!~\d.,* ]+)",
        "a package asks for Python {want}, and this is {have}",
        "take a Python that it supports, or a release of it that supports this one",
        _python_asked,
    ),
)

# --- What the surroundings of a process do not give

_ROOM = (
    known(
        "disk-full",
        r"No space left on device|\[Errno 28\]|Disk quota exceeded",
        "the disk is full",
        "free some disk, or point the caches (HF_HOME, XDG_CACHE_HOME, TMPDIR) to one with room",
    ),
    known(
        "credentials",
        r"GatedRepoError|Access to (?:model|dataset) \S+ is restricted|RepositoryNotFoundError|"
        r"401 (?:Client Error|Unauthorized)|Invalid user ?name or password",
        "what has to be downloaded asks for credentials, or does not exist",
        "log in where it is downloaded, or put the file into the image beforehand",
    ),
    known(
        "rate-limited",
        r"429 (?:Client Error|Too Many Requests)|HTTP Error 429",
        "too much was downloaded in a short time",
        "wait, log in, or put the file into the image beforehand",
    ),
    known(
        "blocked",
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|[Oo]utgoing traffic has been disabled|"
        r"We couldn't connect to '?https?|couldn't connect to 'https|"
        r"(?:requests|urllib3|httpx|httpcore|aiohttp)\.[\w.]*(?:Connect\w*|SSL\w*|Proxy\w*|Timeout\w*|"
        r"MaxRetry\w*|NewConnection\w*|NameResolution\w*)(?:Error|Timeout)?\b|"
        r"\bssl\.SSL\w*Error|Couldn't reach '?(?:https?:|\S+ on the Hub)|"
        r"URLError: <urlopen error|gaierror|Temporary failure in name resolution|"
        r"Name or service not known|Max retries exceeded with url|CERTIFICATE_VERIFY_FAILED|"
        r"Failed to resolve '|Network is unreachable|Cannot connect to host ",
        "the program wants to download something, and the network does not reach it from here",
        _NETWORK,
    ),
    known(
        "openmp-twice",
        r"OMP: Error #(?:15|13)\b|MKL_THREADING_LAYER=INTEL is incompatible with",
        "two OpenMP runtimes are loaded in one process",
        "install the libraries from one source, so that one OpenMP serves all; import NumPy "
        "first, or "
        "set MKL_THREADING_LAYER=GNU",
    ),
    known(
        "process-limit",
        r"can't start new thread|pthread_create (?:failed|: Resource)|Resource temporarily "
        r"unavailable|"
        r"Thread creation failed|\[Errno 11\]",
        "no further thread or process may be started here",
        "raise the limit (--pids-limit, ulimit -u), use fewer threads (OMP_NUM_THREADS), or "
        "update an "
        "engine that is older than the C library of the image",
    ),
    known(
        "too-many-files",
        r"Too many open files|received 0 items of ancdata|\[Errno 24\]",
        "more files are open than may be",
        "raise the limit (ulimit -n), or torch.multiprocessing.set_sharing_strategy('file_system')",
    ),
    known(
        "no-user",
        r"getpwuid\(\): uid not found: (?P<uid>\d+)",
        "the user {uid} that the program runs as has no name in this image",
        "set USER and HOME, or add the user to the image",
    ),
    known(
        "not-writable",
        r"Read-only file system|Permission denied: '(?P<path>/[^'\n]{0,200})'|\[Errno 30\]",
        "the program may not write where it wants to: {path}",
        "point HOME, XDG_CACHE_HOME, HF_HOME and TORCHINDUCTOR_CACHE_DIR to a folder that it may "
        "write to",
    ),
)

# --- What says no more than that it failed

PLAIN = (
    known(
        "assertion",
        r"\A(?:[\w.]+\.)?AssertionError: (?P<what>[\s\S]+)\Z",
        "{what}",
        "read the probe: what it asserts is stated in its header",
    ),
    known(
        "assertion",
        r"\A(?:[\w.]+\.)?AssertionError:?\s*\Z",
        "an assertion without words failed",
        "read the log: the line above the last one is what was asserted",
    ),
    known("exception", r"\A(?P<what>[\s\S]+)\Z", "{what}", "read the log"),
)

_SIGNALS = (
    known(
        "shared-memory",
        r"Signals\.SIGBUS|[Ss]ignal 7\b|SIGBUS",
        "a process was ended by SIGBUS: most often its shared memory (/dev/shm) is too small",
        _SHM,
    ),
    known(
        "out-of-memory",
        r"Signals\.SIGKILL|[Ss]ignal 9\b|SIGKILL|exit ?code:? \(?-9\b",
        "a process was killed: most often the kernel did it for want of memory",
        "give it more memory, or less to do",
    ),
    known(
        "cpu-too-old",
        r"Signals\.SIGILL|[Ss]ignal 4\b|SIGILL|exit ?code:? \(?-4\b",
        "a process was ended by an instruction that this processor does not have",
        "run it on a newer processor (a virtual machine has to pass its features on), or take a "
        "build without these instructions",
    ),
    known(
        "wrong-architecture",
        r"qemu: uncaught target signal",
        "the program is for another kind of processor, and crashed in the emulator of this machine",
        "take the image for the architecture of this machine",
    ),
)

FAILURES = (
    *_BUILDS[:3],
    *_LIBRARIES,
    *_BUILDS[3:],
    *_TOOLS,
    *_MACHINE,
    *_MODULES,
    *_ROOM,
    *_SIGNALS,
)
SIGNALS = {
    4: Ending(
        "cpu-too-old",
        "an illegal instruction (SIGILL): the processor lacks an instruction that the build uses, "
        "most often one of AVX, AVX2, AVX-512 or SSE4",
        "run it on a newer processor (a virtual machine has to pass its features on), or take a "
        "build without these instructions",
    ),
    7: Ending(
        "shared-memory",
        "a bus error (SIGBUS): most often the shared memory (/dev/shm) is too small",
        _SHM,
    ),
    9: Ending(
        "out-of-memory",
        "it was killed (SIGKILL): most often the kernel did it for want of memory",
        "give it more memory, or less to do; if memory sufficed, find out who killed it",
    ),
}
"""The signals that say why a program ended, if it said nothing itself."""
