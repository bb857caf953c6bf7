"""Who holds what: the packages of libraries, the owners of symbols, the fate of Python's modules.

These names are those that stand in the output of other people's programs. Nothing here decides how
an image is built.
"""

from __future__ import annotations

from envmatrix.model.known import Table

# Shared libraries of the operating system: the Debian and Ubuntu package of each. A package is
# named in small letters, also where its library is not.
OS_PACKAGES = Table.of(
    {
        r"^libGL\.so": "libgl1",
        r"^libGLX": "libglx0",
        r"^libEGL\.so": "libegl1",
        r"^libGLES": "libgles2",
        r"^libOpenGL\.so": "libopengl0",
        r"^libOSMesa": "libosmesa6",
        r"^libGLU\.so": "libglu1-mesa",
        r"^libg(?:lib|thread|object|io|module)-2\.0": "libglib2.0-0",
        r"^libSM\.so": "libsm6",
        r"^libICE\.so": "libice6",
        r"^libX11-xcb": "libx11-xcb1",
        r"^libX11\.so": "libx11-6",
        r"^libXext\.so": "libxext6",
        r"^libXrender\.so": "libxrender1",
        r"^libX(\w+)\.so\.(\d+)": "libX{0}{1}",
        r"^libX(\w+)\.so": "of libX{0} (apt-file finds it)",
        r"^libxcb\.so": "libxcb1",
        r"^libxcb-([\w-]+)\.so\.(\d+)": "libxcb-{0}{1}",
        r"^libxcb-": "libxcb-cursor0, libxcb-icccm4, libxcb-image0, libxcb-keysyms1 or a sibling",
        r"^libxkbcommon": "libxkbcommon0",
        r"^libdbus-1": "libdbus-1-3",
        r"^libfontconfig": "libfontconfig1",
        r"^libfreetype": "libfreetype6",
        r"^libgomp": "libgomp1",
        r"^libomp\.so": "libomp5",
        r"^libgfortran\.so\.(\d+)": "libgfortran{0}",
        r"^libquadmath": "libquadmath0",
        r"^libstdc\+\+": "libstdc++6",
        r"^libgcc_s": "libgcc-s1",
        r"^libatomic": "libatomic1",
        r"^libsndfile": "libsndfile1",
        r"^libportaudio": "libportaudio2",
        r"^libasound": "libasound2",
        r"^libpulse": "libpulse0",
        r"^libjack": "libjack-jackd2-0",
        r"^libsox": "libsox3",
        r"^libav(?:codec|device|filter|format|util)\.so|^libsw(?:scale|resample)": "ffmpeg",
        r"^libcrypt\.so\.1": "libcrypt1 (libxcrypt-compat elsewhere)",
        r"^libssl\.so\.1\.1|^libcrypto\.so\.1\.1": "libssl1.1, which only an older OS has",
        r"^libssl\.so\.3|^libcrypto\.so\.3": "libssl3",
        r"^libffi\.so\.(\d+)": "libffi{0}",
        r"^libopenblas": "libopenblas0",
        r"^lib(?:c?blas)\.so": "libblas3",
        r"^liblapacke?\.so": "liblapack3",
        r"^libmpi": "libopenmpi3, or libopenmpi40 from Debian 13 on",
        r"^libnuma": "libnuma1",
        r"^libibverbs": "libibverbs1",
        r"^librdmacm": "librdmacm1",
        r"^libaio\.so": "libaio1, or libaio1t64 from Debian 13 and Ubuntu 24.04 on",
        r"^libtinfo\.so\.5|^libncurses\w*\.so\.5": "libtinfo5 and libncurses5, of an older OS",
        r"^libtinfo\.so\.6|^libncurses": "libtinfo6",
        r"^libreadline\.so\.(\d+)": "libreadline{0}",
        r"^libz\.so": "zlib1g",
        r"^libbz2": "libbz2-1.0",
        r"^liblzma": "liblzma5",
        r"^libzstd": "libzstd1",
        r"^libpng16": "libpng16-16",
        r"^libjpeg\.so\.8": "libjpeg-turbo8",
        r"^libjpeg": "libjpeg62-turbo",
        r"^libtiff\.so\.(\d+)": "libtiff{0}",
        r"^libwebp": "libwebp7",
        r"^libopenjp2": "libopenjp2-7",
        r"^libcairo": "libcairo2",
        r"^libpango": "libpango-1.0-0 and libpangoft2-1.0-0",
        r"^libgdk_pixbuf": "libgdk-pixbuf-2.0-0",
        r"^libgtk-3": "libgtk-3-0",
        r"^libmagic": "libmagic1",
        r"^libzbar": "libzbar0",
        r"^libtesseract": "libtesseract5",
        r"^libenchant": "libenchant-2-2",
        r"^libhdf5(?:_serial)?\.so\.(\d+)": "libhdf5-{0}",
        r"^libhdf5": "of libhdf5 (apt-file finds it)",
        r"^libgdal\.so\.(\d+)": "libgdal{0}",
        r"^libgdal": "of libgdal (apt-file finds it)",
        r"^libgeos": "libgeos-c1v5",
        r"^libspatialindex\.so\.(\d+)": "libspatialindex{0}",
        r"^libspatialindex": "of libspatialindex (apt-file finds it)",
        r"^libproj": "libproj25",
        r"^libpq\.so": "libpq5",
        r"^libmysqlclient|^libmariadb": "libmariadb3",
        r"^libodbc": "unixodbc",
        r"^libsqlite3": "libsqlite3-0",
        r"^libcurl\.so": "libcurl4",
        r"^libxml2": "libxml2",
        r"^libxslt": "libxslt1.1",
        r"^libgstreamer|^libgst": "libgstreamer1.0-0 and gstreamer1.0-plugins-base",
        r"^libnss3|^libnspr4": "libnss3",
        r"^libatk": "libatk1.0-0",
        r"^libcups": "libcups2",
        r"^libgbm": "libgbm1",
        r"^libdrm": "libdrm2",
        r"^libusb-1": "libusb-1.0-0",
        r"^libv4l": "libv4l-0",
        r"^libespeak": "libespeak-ng1",
        r"^libfluidsynth": "libfluidsynth3",
        r"^libsamplerate": "libsamplerate0",
        r"^libmp3lame": "libmp3lame0",
        r"^libopus": "libopus0",
        r"^libvulkan": "libvulkan1",
        r"^libOpenCL": "ocl-icd-libopencl1",
        r"^libtbb\.so\.2": "libtbb2",
        r"^libtbb": "libtbb12",
        r"^libtcmalloc": "libgoogle-perftools4",
        r"^libjemalloc": "libjemalloc2",
        r"^libprotobuf": "libprotobuf32, or the build with its own protobuf",
        r"^libpython(3\.\d+t?)": "libpython{0}",
        r"^libarchive": "libarchive13",
        r"^libuuid": "libuuid1",
        r"^libcap\.so": "libcap2",
        r"^libSDL2-2": "libsdl2-2.0-0",
        r"^ld-linux": "libc6",
    }
)

# NVIDIA's libraries: what each is, and the wheel that holds it.
CUDA_LIBRARIES = Table.of(
    {
        r"^libcudart\.so\.(\d+)": ("the CUDA {0} runtime", "nvidia-cuda-runtime"),
        r"^libcudart": ("the CUDA runtime", "nvidia-cuda-runtime"),
        r"^libcublas(?:Lt)?\.so\.(\d+)": ("cuBLAS of CUDA {0}", "nvidia-cublas"),
        r"^libcublas": ("cuBLAS of CUDA", "nvidia-cublas"),
        r"^libcudnn\w*\.so\.(\d+)": ("cuDNN {0}", "nvidia-cudnn"),
        r"^libcudnn": ("cuDNN", "nvidia-cudnn"),
        r"^libcufft": ("cuFFT of CUDA", "nvidia-cufft"),
        r"^libcufile": ("cuFile of CUDA", "nvidia-cufile"),
        r"^libcurand": ("cuRAND of CUDA", "nvidia-curand"),
        r"^libcusolver": ("cuSOLVER of CUDA", "nvidia-cusolver"),
        r"^libcusparseLt": ("cuSPARSELt", "nvidia-cusparselt"),
        r"^libcusparse": ("cuSPARSE of CUDA", "nvidia-cusparse"),
        r"^libcupti": ("CUPTI of CUDA", "nvidia-cuda-cupti"),
        r"^libnccl": ("NCCL", "nvidia-nccl"),
        r"^libnvrtc": ("NVRTC of CUDA", "nvidia-cuda-nvrtc"),
        r"^libnvJitLink": ("nvJitLink of CUDA", "nvidia-nvjitlink"),
        r"^libnvToolsExt": ("NVTX of CUDA", "nvidia-nvtx"),
        r"^libnvshmem": ("NVSHMEM", "nvidia-nvshmem"),
        r"^libnpp": ("NPP of CUDA", "nvidia-npp"),
        r"^libnvjpeg": ("nvJPEG of CUDA", "nvidia-nvjpeg"),
        r"^libnvinfer|^libnvonnxparser|^libnvparsers": ("TensorRT", "tensorrt"),
        r"^libcutensor": ("cuTENSOR", "cutensor"),
    }
)

# Libraries that a wheel holds: what each is, and the wheel.
WHEEL_LIBRARIES = Table.of(
    {
        r"^libmkl": ("MKL", "mkl"),
        r"^libiomp5": ("Intel's OpenMP", "intel-openmp"),
        r"^lib(?:sycl|pi_|ur_|ze_|svml|imf|intlc|irng)": (
            "Intel's oneAPI",
            "intel-sycl-rt and its siblings, of the release that the framework pins",
        ),
        r"^lib(?:amdhip|hip|MIOpen|roc|rccl|hsa)": ("AMD's ROCm", "the framework's ROCm libraries"),
        r"^libarrow|^libparquet": ("Arrow", "pyarrow"),
        r"^libtbb\.so\.12": ("TBB", "tbb (or the OS package libtbb12)"),
        r"^libonnxruntime": ("ONNX Runtime", "onnxruntime of one release"),
        r"^libopencv": ("OpenCV", "opencv-python-headless"),
    }
)

# Who should have a symbol: what to change where it is missing.
SYMBOL_OWNERS = Table.of(
    {
        r"^p?nccl[A-Z]": "NCCL (nvidia-nccl, or another NCCL on LD_LIBRARY_PATH that hides it)",
        r"^iJIT_|^(?:mkl|MKL|cblas_\w+_64)_|^mkl": 'MKL: pin "mkl<2024.1", or one MKL for all',
        r"nvJitLink": "nvJitLink (nvidia-nvjitlink, of the same CUDA release as the others)",
        r"^cublas": "cuBLAS (nvidia-cublas), or another copy of it that hides it",
        r"^cusparseLt": "cuSPARSELt (nvidia-cusparselt)",
        r"^cusparse": "cuSPARSE (nvidia-cusparse), or another copy of it that hides it",
        r"^cusolver": "cuSOLVER (nvidia-cusolver), or another copy of it that hides it",
        r"^cufft": "cuFFT (nvidia-cufft), or another copy of it that hides it",
        r"^curand": "cuRAND (nvidia-curand), or another copy of it that hides it",
        r"^cuFile": "cuFile (nvidia-cufile)",
        r"^nvshmem": "NVSHMEM (nvidia-nvshmem)",
        r"^nvrtc": "NVRTC (nvidia-cuda-nvrtc)",
        r"^nvtx": "NVTX (nvidia-nvtx)",
        r"^(?:__)?cuda[A-Z]": "the CUDA runtime (nvidia-cuda-runtime), or a copy that hides it",
        r"^(?:cu|nvml)[A-Z]": "NVIDIA's driver, which is older than this needs: update it",
        r"nvinfer": "TensorRT",
        r"^_?Py|^__Py": "Python: the library was built for another Python than this one",
        r"6google8protobuf": "protobuf: the framework and this library need the same one",
        r"4absl": "Abseil, which comes with protobuf and gRPC: use one release of them",
        r"^ffi_": "libffi: conda's copy and the one of the OS are mixed",
        r"^(?:EVP|SSL|OPENSSL|CRYPTO|X509|BIO|RSA|ERR|SSL_CTX|FIPS)_": "OpenSSL: two are mixed",
        r"^(?:av|avcodec|avformat|avutil|sws|swr)_": "FFmpeg, of another major version",
        r"^H5|^_H5": "HDF5: two are mixed",
        r"^(?:jpeg|png|TIFF|WebP|opj)_|^TIFF|^WebP|^jpeg": "the image library (jpeg, png, tiff)",
        r"^(?:omp|kmp|GOMP|kmpc|ompt)_|^__kmpc|^__kmp": "the OpenMP runtime: two are mixed",
        r"^sqlite3_": "SQLite, which is older than this Python needs",
        r"^_ZN?K?2cv": "OpenCV: two are mixed",
        r"5arrow": "Arrow: install one release of pyarrow",
        r"3tbb": "TBB: two are mixed",
        r"^(?:cblas|LAPACKE|openblas)_|^[sdcz](?:gemm|getrf|gesdd|syevd|potrf)\w*_?$": "the BLAS "
        "library (OpenBLAS or MKL): two are mixed",
        r"^rl_|^tput|^UP$|^BC$": "readline and ncurses: those of conda and of the OS are mixed",
        r"^XML_": "expat: another copy hides the one of Python",
        r"^archive_|^lzma_|^ZSTD_|^BZ2_|^inflate|^deflate": "the compression library",
        r"^g_|^gdk_|^gtk_": "GLib: conda's copy and the one of the OS are mixed",
    }
)

# Mangled names of the frameworks' own C++ interfaces: who needs them was built for another build.
FRAMEWORK_SYMBOL = (
    r"N?K?(?:3c10|2at|5torch|6caffe2|4c10d|10tensorflow|3tsl|3xla|8executor|5jaxlib)\w*"
)

# Symbols that only a newer C++ runtime has.
CXX_SYMBOL = r"_ZNK?St|_ZSt|_ZT[IVS]N?St|_ZNK?10__cxxabiv1|_ZTVN10__cxxabiv1|__cxa_"

# The release of GCC whose runtime first has a version of symbols.
GCC_RELEASES = Table.of(
    {
        r"GLIBCXX_3\.4\.2[0-5]$": "8",
        r"GLIBCXX_3\.4\.26$|GLIBCXX_3\.4\.27$": "9",
        r"GLIBCXX_3\.4\.28$|CXXABI_1\.3\.12$": "10",
        r"GLIBCXX_3\.4\.29$|CXXABI_1\.3\.13$": "11",
        r"GLIBCXX_3\.4\.30$": "12",
        r"GLIBCXX_3\.4\.3[12]$|CXXABI_1\.3\.14$": "13",
        r"GLIBCXX_3\.4\.33$|CXXABI_1\.3\.15$": "14",
        r"GLIBCXX_3\.4\.34$|CXXABI_1\.3\.16$": "15",
        r"GOMP_5": "9",
        r"": "newer",
    }
)

# The first line of NVIDIA's drivers for a CUDA, as in the release notes of the CUDA Toolkit.
DRIVERS = Table.of(
    {
        r"cuda>=?11\.8": "520",
        r"cuda>=?11\.": "450",
        r"cuda>=?12\.0": "525",
        r"cuda>=?12\.1": "530",
        r"cuda>=?12\.2": "535",
        r"cuda>=?12\.3": "545",
        r"cuda>=?12\.4": "550",
        r"cuda>=?12\.5": "555",
        r"cuda>=?12\.6": "560",
        r"cuda>=?12\.8": "570",
        r"cuda>=?12\.9": "575",
        r"cuda>=?13\.0": "580",
    }
)

# Modules of Python that a release of it removed.
REMOVED_FROM_PYTHON = Table.of(
    {
        r"^distutils(?:\.|$)": ("3.12", "3.11", ', or add "setuptools", which brings distutils'),
        r"^imp$": ("3.12", "3.11", ""),
        r"^asyncore$|^asynchat$|^smtpd$": ("3.12", "3.11", "or add pyasyncore and its siblings, "),
        r"^(?:binhex|asyncio\.compat)$": ("3.11", "3.10", ""),
        r"^(?:formatter|parser|symbol|macpath)$": ("3.10", "3.9", ""),
        r"^(?:_bootlocale|dummy_threading)$": ("3.9 or 3.10", "3.8", ""),
        r"^lib2to3(?:\.|$)": ("3.13", "3.12", ""),
        r"^(?:aifc|audioop|cgi|cgitb|chunk|crypt|imghdr|mailcap|msilib|nis|nntplib|ossaudiodev|"
        r"pipes|sndhdr|spwd|sunau|telnetlib|uu|xdrlib)$": (
            "3.13",
            "3.12",
            "or add the standard-* or *-lts distribution that replaces it, ",
        ),
    }
)

# Modules that a release of Python added.
ADDED_TO_PYTHON = Table.of(
    {
        r"^tomllib$|^wsgiref\.types$": "3.11",
        r"^zoneinfo$|^graphlib$": "3.9",
        r"^importlib\.metadata$": "3.8",
        r"^importlib\.resources(?:\.abc)?$|^contextvars$|^dataclasses$": "3.7",
        r"^compression(?:\.zstd)?$|^concurrent\.interpreters$|^annotationlib$|"
        r"^string\.templatelib$": "3.14",
    }
)

# Names that a release of Python added to a module.
ADDED_NAMES = Table.of(
    {
        r"^typing\.(?:Self|Never|LiteralString|assert_never|assert_type|reveal_type|Required|"
        r"NotRequired|Unpack|TypeVarTuple|dataclass_transform|get_overloads)$": "3.11",
        r"^typing\.(?:ParamSpec|ParamSpecArgs|Concatenate|TypeAlias|TypeGuard|"
        r"is_typeddict)$": "3.10",
        r"^typing\.(?:override|TypeAliasType)$": "3.12",
        r"^typing\.(?:TypeIs|ReadOnly|NoDefault)$": "3.13",
        r"^typing\.(?:Annotated)$": "3.9",
        r"^typing\.OrderedDict$": "3.7.2",
        r"^typing\.(?:Literal|Final|Protocol|TypedDict|get_args|get_origin|runtime_checkable|"
        r"SupportsIndex)$": "3.8",
        r"^enum\.(?:StrEnum|ReprEnum|verify|member|nonmember|global_enum)$": "3.11",
        r"^datetime\.UTC$": "3.11",
        r"^(?:asyncio\.(?:TaskGroup|timeout|Runner|Barrier)|hashlib\.file_digest|"
        r"contextlib\.chdir|operator\.call|inspect\.getmembers_static)$": "3.11",
        r"^(?:contextlib\.aclosing|types\.(?:NoneType|UnionType|EllipsisType)|"
        r"itertools\.pairwise|dataclasses\.KW_ONLY|inspect\.get_annotations|"
        r"statistics\.(?:linear_regression|correlation|covariance)|sys\.stdlib_module_names|"
        r"importlib\.metadata\.packages_distributions)$": "3.10",
        r"^(?:functools\.cache|math\.(?:lcm|nextafter|ulp)|asyncio\.to_thread|types\.GenericAlias|"
        r"random\.randbytes|importlib\.resources\.files|ast\.unparse)$": "3.9",
        r"^(?:functools\.(?:cached_property|singledispatchmethod)|math\.(?:prod|dist|comb|perm|isqrt)|"
        r"shlex\.join|asyncio\.(?:run|create_task|get_running_loop))$": "3.8",
        r"^(?:itertools\.batched|collections\.abc\.Buffer|calendar\.Month|inspect\.markcoroutinefunction|"
        r"math\.sumprod|types\.get_original_bases|os\.process_cpu_count)$": "3.12",
        r"^(?:warnings\.deprecated|copy\.replace|queue\.ShutDown|types\.CapsuleType)$": "3.13",
    }
)

# Names that a release of Python removed from a module.
REMOVED_NAMES = Table.of(
    {
        r"^collections\.(?:Mapping|MutableMapping|Sequence|MutableSequence|Iterable|Iterator|Callable|"
        r"Set|MutableSet|Hashable|Sized|Container|Generator|Awaitable|Coroutine|KeysView|"
        r"ValuesView|ItemsView|ByteString)$": ("3.10", "3.9"),
        r"^inspect\.(?:getargspec|formatargspec)$": ("3.11", "3.10"),
        r"^asyncio\.coroutine$|^unittest\._TextTestResult$": (
            "3.11",
            "3.10",
        ),
        r"^pkgutil\.(?:ImpImporter|ImpLoader)$": ("3.12", "3.11"),
        r"^(?:configparser\.SafeConfigParser|ssl\.(?:wrap_socket|match_hostname|RAND_pseudo_bytes)|"
        r"importlib\.(?:find_loader|util\.(?:set_package|set_loader|module_for_loader))|"
        r"sqlite3\.enable_shared_cache)$": ("3.12", "3.11"),
        r"^(?:unittest\.(?:makeSuite|findTestCases|getTestCaseNames)|locale\.resetlocale|"
        r"typing\.(?:io|re)|"
        r"webbrowser\.MacOSX)$": ("3.13", "3.12"),
        r"^ast\.(?:Str|Num|Bytes|NameConstant|Ellipsis)$|^pkgutil\.(?:find_loader|get_loader)$|"
        r"^asyncio\.(?:get_child_watcher|set_child_watcher|SafeChildWatcher|AbstractChildWatcher)$|"
        r"^typing\.ByteString$|^collections\.abc\.ByteString$": ("3.14", "3.13"),
        r"^(?:fractions\.gcd|base64\.(?:encodestring|decodestring)|array\.array\.tostring|"
        r"asyncio\.async|sys\.(?:getcheckinterval|setcheckinterval)|time\.clock|"
        r"cgi\.(?:escape|parse_qs|parse_qsl)|platform\.(?:linux_distribution|dist)|"
        r"os\.(?:errno|popen2)|string\.(?:letters|maketrans|join)|itertools\.(?:izip|imap|ifilter)|"
        r"plistlib\.(?:readPlist|writePlist))$": ("3.9 or an earlier release", "3.8"),
    }
)

# Modules that are part of Python only if it was built with a library: the library's package.
BUILT_WITH = Table.of(
    {
        r"^_?tkinter$": "python3-tk (tk-dev to build)",
        r"^_ctypes$": "libffi-dev",
        r"^_lzma$": "liblzma-dev",
        r"^_bz2$": "libbz2-dev",
        r"^_sqlite3$|^pysqlite2$": "libsqlite3-dev",
        r"^_ssl$|^_hashlib$": "libssl-dev",
        r"^zlib$": "zlib1g-dev",
        r"^_curses(?:_panel)?$": "libncurses-dev",
        r"^readline$": "libreadline-dev",
        r"^_uuid$": "uuid-dev",
        r"^_dbm$|^_gdbm$": "libgdbm-dev",
        r"^_zstd$": "libzstd-dev",
        r"^_posixshmem$|^_multiprocessing$": "a kernel with POSIX shared memory",
        r"^ensurepip$|^venv$": "python3-venv",
    }
)

# Packages whose parts are distributions of their own.
NAMESPACES = frozenset(
    [
        "azure",
        "backports",
        "databricks",
        "google",
        "grpc_tools",
        "jaraco",
        "mpl_toolkits",
        "nvidia",
        "opentelemetry",
        "paste",
        "repoze",
        "ruamel",
        "sphinxcontrib",
        "zope",
        "airflow.providers",
    ]
)

# The distribution that holds a module, where its name is another.
DISTRIBUTIONS = Table.of(
    {
        r"^cv2$": "opencv-python-headless",
        r"^PIL(?:\.|$)": "pillow",
        r"^yaml$": "pyyaml",
        r"^sklearn(?:\.|$)": "scikit-learn",
        r"^skimage(?:\.|$)": "scikit-image",
        r"^google\.protobuf": "protobuf",
        r"^google\.cloud\.(\w+)": "google-cloud-{0}",
        r"^google\.(?:auth|oauth2)": "google-auth",
        r"^google\.(?:generativeai|genai)": "google-genai",
        r"^nvidia\.dali": "nvidia-dali",
        r"^ruamel\.yaml|^ruamel$": "ruamel.yaml",
        r"^mpl_toolkits\.basemap": "basemap",
        r"^bs4$": "beautifulsoup4",
        r"^dateutil": "python-dateutil",
        r"^dotenv$": "python-dotenv",
        r"^jwt$": "pyjwt",
        r"^git$": "gitpython",
        r"^Crypto": "pycryptodome",
        r"^OpenSSL": "pyopenssl",
        r"^serial$": "pyserial",
        r"^magic$": "python-magic",
        r"^fitz$": "pymupdf",
        r"^docx$": "python-docx",
        r"^pptx$": "python-pptx",
        r"^Levenshtein$": "levenshtein",
        r"^attr$": "attrs",
        r"^pywt$": "pywavelets",
        r"^faiss$": "faiss-cpu",
        r"^umap$": "umap-learn",
        r"^hydra$": "hydra-core",
        r"^omegaconf$": "omegaconf",
        r"^zmq$": "pyzmq",
        r"^msgpack$": "msgpack",
        r"^flash_attn(?:\.|$|_2_cuda)": "flash-attn",
        r"^pycocotools": "pycocotools",
        r"^pkg_resources": "setuptools",
        r"^setuptools": "setuptools",
        r"^tensorflow_text": "tensorflow-text",
        r"^tensorflow_datasets": "tensorflow-datasets",
        r"^tf_keras": "tf-keras",
        r"^torch_(scatter|sparse|cluster|geometric)$": "torch-{0}",
        r"^pytorch_lightning": "pytorch-lightning",
        r"^onnxruntime": "onnxruntime",
        r"^wx$": "wxpython",
        r"^Bio$": "biopython",
        r"^osgeo$": "gdal",
        r"^MySQLdb$": "mysqlclient",
        r"^psycopg2$": "psycopg2-binary",
        r"^jose$": "python-jose",
        r"^slugify$": "python-slugify",
        r"^editdistance$": "editdistance",
        r"^sentence_transformers": "sentence-transformers",
        r"^huggingface_hub": "huggingface-hub",
        r"^([A-Za-z_][\w]*)": "{0}",
    }
)

# What is known of modules and names that a release of a package removed: the pin that has them.
REMOVALS = Table.of(
    {
        r"^torchvision\.transforms\.functional_tensor": "torchvision<0.17",
        r"^torchvision\.models\.utils$": "torchvision<0.12",
        r"^torch\._six$|^torch\._six\.": "torch<2.0",
        r"^torch\.onnx\.symbolic_registry": "torch<1.13",
        r"^torchtext\.legacy|^torchtext\.data\.Field": "torchtext<0.12",
        r"^keras\.src\.engine|^keras\.engine|^keras\.layers\.core|"
        r"^keras\.layers\.preprocessing": "keras<3",
        r"^keras\.(?:utils\.generic_utils|saving\.saved_model|preprocessing\.text|"
        r"wrappers)": "keras<3",
        r"^tensorflow\.contrib|^tensorflow\.(?:placeholder|Session|ConfigProto|GraphDef|app|flags|"
        r"logging|get_default_graph|gfile|layers|set_random_seed|variable_scope|"
        r"python_io)$": "tensorflow<2",
        r"^tensorflow\.estimator$": "tensorflow<2.16",
        r"^tensorflow\.python\.keras": "tensorflow<2.14",
        r"^(?:np|numpy)\.(?:float|int|bool|object|complex|str|long|unicode|"
        r"typeDict)$": "numpy<1.24",
        r"^(?:np|numpy)\.(?:float_|complex_|unicode_|string_|Inf|Infinity|NaN|NAN|PINF|NINF|infty|cfloat|"
        r"longfloat|singlecomplex|clongfloat|product|cumproduct|sometrue|alltrue|sctypes|sctype2char|"
        r"issctype|obj2sctype|maximum_sctype|cast|find_common_type|issubclass_|set_string_function|"
        r"compat|deprecate|msort|row_stack|in1d|trapz|round_|asfarray|mat|ComplexWarning|"
        r"VisibleDeprecationWarning|RankWarning|AxisError|byte_bounds|source|who|disp|recfromcsv|"
        r"safe_eval|tracemalloc_domain|set_numeric_ops|lookfor|nbytes|DataSource)$": "numpy<2",
        r"^numpy\.distutils": "numpy<2 and Python<3.12",
        r"^numpy\.testing\.(?:nosetester|decorators|utils)": "numpy<1.25",
        r"^numpy\.core\.\w+": "numpy<2",
        r"^PIL\.Image\.(?:ANTIALIAS|LINEAR|CUBIC)$": "pillow<10",
        r"^sklearn\.externals\.joblib|^sklearn\.externals\.six": "scikit-learn<0.23",
        r"^sklearn\.(?:utils\.testing|neighbors\.base|ensemble\.forest|tree\.tree|"
        r"metrics\.scorer)": "scikit-learn<0.24",
        r"^sklearn\.(?:datasets\.load_boston|utils\.fixes|utils\.deprecation)": "scikit-learn<1.2",
        r"^pandas\.(?:core\.indexes\.numeric|Int64Index|Float64Index|UInt64Index)": "pandas<2",
        r"^pandas\.(?:io\.common|util\.testing|Panel|"
        r"core\.strings\.StringMethods)": "pandas<1 or <2",
        r"^scipy\.misc\.(?:imread|imresize|imsave|toimage)": "scipy<1.3",
        r"^scipy\.(?:signal\.(?:hann|hamming|gaussian)|integrate\.(?:simps|trapz|"
        r"cumtrapz))": "scipy<1.14",
        r"^scipy\.(?:linalg\.(?:tri|triu|tril))": "scipy<1.13",
        r"^skimage\.measure\.compare_(?:ssim|psnr|mse)": "scikit-image<0.18",
        r"^networkx\.from_numpy_matrix": "networkx<3",
        r"^moviepy\.editor": "moviepy<2",
        r"^jax\.(?:linear_util|experimental\.maps|abstract_arrays|xla_computation|tree_map|"
        r"core\.Shape|random\.KeyArray|config)": "an older jax",
        r"^transformers\.(?:modeling_bert|tokenization_bert|modeling_gpt2)": "transformers<4",
        r"^transformers\.deepspeed": "transformers<4.46",
        r"^pytorch_lightning\.(?:metrics|utilities\.distributed|callbacks\.base|"
        r"core\.lightning)": "pytorch-lightning<1.9",
        r"^torchaudio\.(?:set_audio_backend|get_audio_backend|list_audio_backends|info|io|"
        r"backend)": "torchaudio<2.9",
        r"^huggingface_hub\.(?:cached_download|HfFolder|Repository)": "huggingface-hub<0.26",
        r"^diffusers\.(?:models\.cross_attention|pipeline_utils|"
        r"models\.unet_2d_condition)": "an older diffusers",
        r"^werkzeug\.(?:urls\.url_quote|utils\.\w+|contrib)": "werkzeug<3",
        r"^flask\.(?:escape|Markup|json\.JSONEncoder|_app_ctx_stack)": "flask<2.3",
        r"^jinja2\.(?:Markup|escape|contextfilter)": "jinja2<3.1",
        r"^pkg_resources$": "setuptools<82",
        r"^pip\._internal": "an older pip",
    }
)

# Attributes that a release of a package removed from its objects.
OBJECT_REMOVALS = Table.of(
    {
        r"^(?:DataFrame|Series)\.(?:append|iteritems|mad)$": "pandas<2",
        r"^(?:DataFrame|Series)\.(?:ix|as_matrix|get_value)$": "pandas<1",
        r"^ndarray\.(?:newbyteorder|itemset|ptp)$": "numpy<2",
        r"^FreeTypeFont\.getsize$|^ImageDraw\.textsize$": "pillow<10",
        r"^Thread\.isAlive$": "Python<3.9",
        r"^(?:\w*Element)\.getchildren$": "Python<3.9",
        r"^EntryPoints\.get$": "importlib-metadata<5, or Python<3.12",
        r"^dict\.(?:has_key|iteritems|itervalues)$|^str\.decode$": "Python 2",
    }
)

# Operating system packages of programs.
PROGRAMS = Table.of(
    {
        r"(?:^|/)ff(?:mpeg|probe)$": "ffmpeg",
        r"(?:^|/)git$": "git",
        r"(?:^|/)python$": "python3, with python-is-python3 for the name python",
        r"(?:^|/)(python3|pip3?)$": "{0}",
        r"(?:^|/)git-lfs$": "git-lfs",
        r"(?:^|/)(?:sox|soxi)$": "sox",
        r"(?:^|/)espeak(?:-ng)?$": "espeak-ng",
        r"(?:^|/)tesseract$": "tesseract-ocr",
        r"(?:^|/)(?:dot|neato)$": "graphviz",
        r"(?:^|/)java$": "default-jre-headless",
        r"(?:^|/)node$": "nodejs",
        r"(?:^|/)pdf(?:toppm|info|tocairo|totext)$": "poppler-utils",
        r"(?:^|/)(?:convert|magick|identify)$": "imagemagick",
        r"(?:^|/)(curl|wget|unzip|zip|aria2c|less|sudo|rsync|file|which|patch|swig|"
        r"numactl)$": "{0}",
        r"(?:^|/)ps$|(?:^|/)pgrep$": "procps",
        r"(?:^|/)lspci$": "pciutils",
        r"(?:^|/)ldconfig(?:\.real)?$": "libc-bin",
        r"(?:^|/)lsb_release$": "lsb-release",
        r"(?:^|/)ssh$": "openssh-client",
        r"(?:^|/)(?:lscpu)$": "util-linux",
        r"(?:^|/)pandoc$": "pandoc",
        r"(?:^|/)(?:latex|pdflatex|xelatex)$": "texlive",
        r"(?:^|/)chromedriver$": "chromium-driver",
        r"(?:^|/)mpi(?:run|exec|cc)$": "openmpi-bin",
    }
)

COMPILERS = Table.of(
    {
        r"(?:^|/)(?:nvcc|ptxas|nvlink|fatbinary|cuobjdump|nvdisasm|cicc)$": "CUDA's compiler "
        "(nvidia-cuda-nvcc, or the CUDA toolkit of the framework's CUDA)",
        r"(?:^|/)(?:c\+\+|g\+\+|clang\+\+|cc1plus)(?:-[\d.]+)?$": "g++",
        r"(?:^|/)(?:x86_64-linux-gnu-|aarch64-linux-gnu-)g\+\+$": "g++",
        r"(?:^|/)(?:x86_64-linux-gnu-|aarch64-linux-gnu-)?(?:cc|gcc|clang|"
        r"c99)(?:-[\d.]+)?$": "gcc and g++",
        r"(?:^|/)(ninja|cmake|make|automake|autoconf|meson|bazel|swig)$": "{0}",
        r"(?:^|/)pkg-config$": "pkg-config",
        r"(?:^|/)(?:ld|ld\.lld|as|ar|objcopy)$": "binutils",
        r"(?:^|/)(?:rustc|cargo)$": "cargo",
        r"(?:^|/)(?:gfortran|f77|f95)$": "gfortran",
    }
)
