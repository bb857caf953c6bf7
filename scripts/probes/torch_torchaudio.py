# /// probe
# name = "torch-torchaudio"
# framework = "torch"
# stack = "audio"
# proves = "torchaudio's mel spectrogram and compiled filter work with this torch."
# required = true
# timeout = 60
# ///
"""Find sine tones in a mel spectrogram, and filter an impulse.

Mel bin k is centred on the frequency whose mel value, 2595 log10(1 + f / 700), is k + 1 steps above
zero, where MELS + 1 steps make half the sample rate. A tone of just that frequency must peak there:
its neighbours are some 70 mels away, at 700 Hz or more some 85 Hz, and the Fourier bins are 16 Hz
apart. The filter halves its last output, so that its answer to an impulse is powers of two, exact
in float32; it is computed in torchaudio's compiled library, which fits one build of torch.
"""

import json
import math
import os
import time

import torch
import torchaudio

THREADS = 1
SAMPLE_RATE, SAMPLES = 16_000, 8_000
WINDOW, MELS = 1024, 40
TONES = (10, 20, 30)  # bins
TAPS = 16


def report(**outcome: object) -> None:
    """Print the one line that envmatrix reads."""
    line = {"probe": "torch-torchaudio", "nonce": os.environ["ENVMATRIX_NONCE"], **outcome}
    print(json.dumps(line, allow_nan=False), flush=True)


def centre(mel_bin: int) -> float:
    """Compute the frequency in the centre of a mel bin."""
    step = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700) / (MELS + 1)
    return 700 * (10 ** (step * (mel_bin + 1) / 2595) - 1)


def peak(frequency: float) -> int:
    """Return the mel bin that holds the most of a tone."""
    tone = torch.sin(2 * math.pi * frequency / SAMPLE_RATE * torch.arange(SAMPLES))
    spectrogram = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=WINDOW, n_mels=MELS)
    energies = spectrogram(tone)
    assert energies.shape[0] == MELS, f"the spectrogram has the shape {tuple(energies.shape)}"
    assert torch.isfinite(energies).all(), "the spectrogram is not finite"
    return int(energies.sum(dim=1).argmax())


def check_filter() -> None:
    """Filter an impulse by y[n] = x[n] + y[n-1] / 2."""
    impulse = torch.zeros(TAPS)
    impulse[0] = 1
    filtered = torchaudio.functional.lfilter(
        impulse, torch.tensor([1.0, -0.5]), torch.tensor([1.0, 0.0])
    ).tolist()
    expected = [0.5**tap for tap in range(TAPS)]
    assert filtered == expected, f"the filter answers {filtered}, not {expected}"


def main() -> None:
    """Run the probe."""
    torch.set_num_threads(THREADS)
    started = time.perf_counter()
    for tone in TONES:
        found = peak(centre(tone))
        assert found == tone, f"{centre(tone):.1f} Hz peaks in mel bin {found}, not {tone}"
    check_filter()
    report(
        observed={
            "torchaudio": str(torchaudio.__version__),
            "tones_hz": [round(centre(tone), 1) for tone in TONES],
            "seconds": round(time.perf_counter() - started, 3),
        }
    )


if __name__ == "__main__":
    main()
