"""Sound input with something wrong in it: what hypothesis shows to a target.

Used by ``test_targets``.
"""

from hypothesis import strategies as st

from tests.fuzz.target import NASTY, Target

# Mutants far longer than their seeds are the matter of the growth check.
MOST_BYTES = 4096


@st.composite
def mutants(draw: st.DrawFn, target: Target) -> bytes:
    """Draw a seed, and change it in up to five places; or draw any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = draw(st.sampled_from(target.seeds))
    pieces = st.sampled_from((*target.words, *NASTY)) | st.binary(max_size=6)
    for _ in range(draw(st.integers(0, 5))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 12)))
        match draw(st.integers(0, 4)):
            case 0:  # the end is missing
                data = data[:begin]
            case 1:  # a part comes twice, or often
                data = data[:end] + data[begin:end] * draw(st.sampled_from((1, 2, 40))) + data[end:]
            case 2:  # the end of another one
                other = draw(st.sampled_from(target.seeds))
                data = data[:begin] + other[draw(st.integers(0, len(other))) :]
            case _:
                data = data[:begin] + draw(pieces) + data[end:]
    return data[:MOST_BYTES]
