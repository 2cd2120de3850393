import io

import av
import numpy as np

from compress.report.samples import png


def test_a_png_has_the_pixels_it_was_made_of():
    picture = np.random.default_rng(0).integers(0, 256, (12, 31, 3), dtype=np.uint8)
    with av.open(io.BytesIO(png(picture))) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(decoded, picture)
