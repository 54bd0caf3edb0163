"""Writes tests/fixtures/pictures: unusual and turned pictures with Pillow's pixels, JPEGs with digests of theirs,
and digests of Pillow's resize.

    python tests/reference/pillow_fixtures.py

Everything is drawn here from arithmetic; the output is the same at every run.
"""

import hashlib
import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

OUT = Path(__file__).parents[1] / "fixtures" / "pictures"
WIDTH, HEIGHT = 23, 17

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def noise(width, height, seed):
    """Returns a hash of each value's index; crates/pictures/tests/resample.rs has the same function."""
    index = np.arange(width * height * 3, dtype=np.uint64) + seed
    mask = np.uint64(0xFFFFFFFF)
    h = (index * np.uint64(2654435761)) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(2246822519)) & mask
    h ^= h >> np.uint64(13)
    return (h >> np.uint64(24)).astype(np.uint8).reshape(height, width, 3)


def steps(width, height):
    """Draws black and white tiles of 5 x 3, in a third of the plane for each colour: the largest overshoot."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    return ((((x + 2 * c) // 5 + y // 3) % 2) * 255).astype(np.uint8)


def smooth():
    """Draws a picture that suits JPEG: gradients and two edges."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red = x * 11
    green = y * 15
    blue = np.where((x > 11) ^ (y > 6), 40, 200)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, depth, colour, rows):
    """Returns a PNG that Pillow cannot write."""
    def chunk(name, body):
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def on_canvas(gif, width, height, left, top):
    """Moves the frame of a GIF to another position on another canvas."""
    frame = gif.index(b"," + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT)) + 1
    return (gif[:6] + struct.pack("<HH", width, height) + gif[10:frame]
            + struct.pack("<HH", left, top) + gif[frame + 4 :])


def exif(orientation, thumbnail):
    """Returns an EXIF block with an orientation, followed by a whole JPEG, whose end marker is not the file's."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + tiff + thumbnail


def decodable():
    picture = smooth()
    jpeg = encode(picture, "JPEG", quality=90)
    alpha = picture.convert("RGBA")
    alpha.putalpha(Image.fromarray((np.arange(WIDTH * HEIGHT) % 256).astype(np.uint8).reshape(HEIGHT, WIDTH)))
    palette = picture.quantize(16)
    second = Image.fromarray(255 - np.asarray(picture)).quantize(16)
    odd_gif = on_canvas(encode(palette, "GIF"), 40, 30, 9, 4)
    transparent_gif = on_canvas(encode(palette, "GIF", transparency=3), 40, 30, 9, 4)
    whole_png = encode(picture, "PNG")
    tall = smooth().resize((5, 40))
    # After the first segment, whose length is at 4.
    gap = 4 + struct.unpack(">H", jpeg[4:6])[0]
    wide = noise(WIDTH, HEIGHT, 7).astype(">u2") * 256 + 255 - noise(WIDTH, HEIGHT, 9)
    wide_rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    cmyk = Image.merge("CMYK", [*picture.split(), picture.convert("L")])
    return {
        "baseline.jpg": jpeg,
        "full-chroma.jpg": encode(picture, "JPEG", quality=90, subsampling=0),
        "half-chroma.jpg": encode(picture, "JPEG", quality=90, subsampling=1),
        "progressive.jpg": encode(picture, "JPEG", quality=90, progressive=True),
        "restarts.jpg": encode(picture, "JPEG", quality=90, restart_marker_blocks=1),
        "grey.jpg": encode(picture.convert("L"), "JPEG"),
        "cmyk.jpg": encode(cmyk, "JPEG", quality=95),
        "exif-turned.jpg": encode(picture, "JPEG", exif=exif(6, jpeg)),
        "bytes-after-the-end.jpg": jpeg + b"\0\0 more \xff\xd8",
        "bytes-between-headers.jpg": jpeg[:gap] + b"stray" + jpeg[gap:],
        "one-column.jpg": encode(picture.crop((3, 0, 4, HEIGHT)), "JPEG", subsampling=0),
        "one-row.png": encode(picture.crop((0, 3, WIDTH, 4)), "PNG"),
        "rgb.png": encode(picture, "PNG"),
        "rgba.png": encode(alpha, "PNG"),
        "grey-alpha.png": encode(alpha.convert("LA"), "PNG"),
        "palette.png": encode(palette, "PNG"),
        "palette-transparent.png": encode(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "one-bit.png": encode(picture.convert("1"), "PNG"),
        "rgb16.png": png(WIDTH, HEIGHT, 16, 2, wide_rows),
        "palette.gif": encode(palette, "GIF"),
        "transparent.gif": encode(palette, "GIF", transparency=3),
        "animated.gif": encode(palette, "GIF", save_all=True, append_images=[second]),
        "on-a-larger-canvas.gif": odd_gif,
        "transparent-on-a-larger-canvas.gif": transparent_gif,
        "beyond-its-canvas.gif": on_canvas(encode(palette, "GIF"), 20, 30, 9, 4),
        "without-its-end.png": whole_png[:-12],
        "cut-in-the-last-checksum.png": whole_png[:-18],
        "with-a-profile.png": encode(picture, "PNG", icc_profile=bytes(range(256)) * 2),
        "scaled.ppm": b"P6\n# drawn\n%d %d\n100\n" % picture.size + (np.asarray(picture) // 3).tobytes(),
        "scaled16.ppm": b"P6 %d %d 1000\n" % picture.size + (np.asarray(picture) * 3).astype(">u2").tobytes(),
        "plain.pgm": b"P2 %d %d 15 " % picture.size + b" ".join(
            b"%d" % (value // 17) for value in picture.convert("L").tobytes()),
        "one-bit.pbm": encode(picture.convert("1"), "PPM"),
        "plain.pbm": b"P1\n5 3\n01011\n0 1 1#\n0 0\n11111",
        "lzw.tif": encode(picture, "TIFF", compression="tiff_lzw"),
        "cmyk.tif": encode(cmyk, "TIFF"),
        "grey.tif": encode(picture.convert("L"), "TIFF"),
        "turned.tif": encode(tall, "TIFF", tiffinfo={274: 6}),
        "pages.tif": encode(picture, "TIFF", save_all=True, append_images=[second.convert("RGB")]),
        "rgb.bmp": encode(picture, "BMP"),
        "lossy.webp": encode(picture, "WEBP", quality=80),
        "lossless.webp": encode(alpha, "WEBP", lossless=True, exact=True),
        "a-png-by-the-name-of.jpg": encode(picture, "PNG"),
    }


def grey_sampled_twice(grey):
    """Changes the sampling of a single component, which must change no pixel."""
    frame = grey.index(b"\xff\xc0")
    return grey[: frame + 11] + b"\x22" + grey[frame + 12 :]


def jpegs():
    """Yields sequential JPEGs of sizes around those of blocks, of units and of eight units."""
    sizes = [
        (1, 1), (2, 9), (3, 5), (4, 2), (5, 3), (6, 17), (8, 8), (9, 16), (15, 17), (16, 16), (17, 7), (33, 31),
        (63, 9), (65, 8), (127, 6), (129, 18), (257, 3),
    ]
    for number, (width, height) in enumerate(sizes):
        y, x = np.mgrid[0:height, 0:width]
        drawn = np.stack([x * 9 + y, 255 - y * 13, (x * y) % 256], axis=-1).astype(np.uint8)
        pixels = np.where(noise(width, height, number) > 150, noise(width, height, number + 3), drawn)
        image = Image.fromarray(pixels)
        quality = (25, 90, 75)[number % 3]
        restarts = number % 4
        for sampling, name in enumerate(("4:4:4", "4:2:2", "4:2:0")):
            options = {"restart_marker_blocks": restarts} if restarts else {}
            options["optimize"] = number % 2 == 0
            yield f"{width}x{height} {name}", encode(image, "JPEG", quality=quality, subsampling=sampling, **options)
        grey = encode(image.convert("L"), "JPEG", quality=quality)
        yield f"{width}x{height} grey", grey_sampled_twice(grey) if number % 2 else grey
    # The largest coefficients: steps from black to white, coarsely and finely quantised.
    for quality in (1, 100):
        contents = encode(Image.fromarray(steps(40, 24)), "JPEG", quality=quality, subsampling=0)
        yield f"steps of quality {quality}", contents


def refused():
    picture = smooth()
    jpeg = encode(picture, "JPEG", quality=90)
    frame = jpeg.index(b"\xff\xc0") + 5
    gif = encode(picture.quantize(16), "GIF")
    bmp = encode(picture, "BMP")
    side = struct.pack(">H", 30000)
    grey16 = b"".join(b"\0" + bytes(2 * WIDTH) for _ in range(HEIGHT))
    return {
        "empty.jpg": b"",
        "page.jpg": b"<!DOCTYPE html>\n<title>429 Too Many Requests</title>\n",
        "cut.jpg": jpeg[:-60],
        "cut.png": encode(picture, "PNG")[:-60],
        "cut.gif": gif[:-60],
        "cut.bmp": bmp[:-60],
        "cut.webp": encode(picture, "WEBP")[:-60],
        "grey16.png": png(WIDTH, HEIGHT, 16, 0, grey16),
        "huge.jpg": jpeg[:frame] + side + side + jpeg[frame + 4 :],
        "huge.png": png(30000, 30000, 8, 2, b"\0"),
        "huge.gif": gif[:6] + struct.pack("<HH", 30000, 30000) + gif[10:],
        "huge.bmp": bmp[:18] + struct.pack("<ii", 30000, 30000) + bmp[26:],
    }


def turned():
    """Draws a picture with each EXIF orientation; the pixels are those of ImageOps.exif_transpose."""
    for orientation in range(1, 9):
        data = Image.Exif()
        data[0x0112] = orientation
        yield f"{orientation}.jpg", encode(smooth(), "JPEG", quality=90, exif=data)
    for kind in ("png", "webp"):
        yield f"6.{kind}", encode(smooth(), kind.upper(), lossless=True, exif=exif(6, b"")[6:])
    yield "none.jpg", encode(smooth(), "JPEG", quality=90)
    # No orientation has these numbers.
    yield "0.jpg", encode(smooth(), "JPEG", quality=90, exif=exif(0, b""))
    yield "9.jpg", encode(smooth(), "JPEG", quality=90, exif=exif(9, b""))


def check_that_pillow_refuses_every_cut(pictures):
    """Checks that Pillow refuses cut files, except without the end marker, which it ignores in some files."""
    for name in ("baseline.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg", "cmyk.jpg", "exif-turned.jpg"):
        for length in range(len(pictures[name]) - 2):
            try:
                Image.open(io.BytesIO(pictures[name][:length])).convert("RGB")
            except (OSError, SyntaxError):
                continue
            raise AssertionError(f"Pillow reads {name} cut to {length} bytes")


def prepared(image, size):
    """Applies OpenAI's preprocessing: torchvision's sizes and offsets, Pillow's resize."""
    width, height = image.size
    shorter = min(width, height)
    # Rows before columns in two calls, for Pillow 13.0 shrinks tall pictures in the other order; in one
    # call Pillow 9.5, 12.0 and 12.3 give the same bytes.
    for to in ((size * width // shorter, height), (size * width // shorter, size * height // shorter)):
        image = image.resize(to, Image.Resampling.BICUBIC)
    left, top = (int(round((side - size) / 2.0)) for side in image.size)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def resizes():
    shapes = [
        (1, 1), (1, 97), (97, 1), (2, 3), (37, 23), (23, 37), (112, 112), (223, 224), (224, 224),
        (225, 224), (224, 227), (226, 333), (300, 199), (500, 333), (375, 500), (641, 480), (1601, 97),
        (100, 300), (333, 700), (97, 801),
    ]
    for seed, (width, height) in enumerate(shapes):
        for size in (7, 32, 224, 336):
            for kind, pixels in (("noise", noise(width, height, seed)), ("steps", steps(width, height))):
                square = prepared(Image.fromarray(pixels), size)
                planes = torch.from_numpy(square.copy()).permute(2, 0, 1).to(torch.float32).div(255)
                planes = planes.sub(torch.tensor(MEAN).view(3, 1, 1)).div(torch.tensor(STD).view(3, 1, 1))
                yield {
                    "kind": kind, "seed": seed, "width": width, "height": height, "size": size,
                    "pixels": hashlib.sha256(square.tobytes()).hexdigest(),
                    "planes": hashlib.sha256(planes.contiguous().numpy().tobytes()).hexdigest(),
                }


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "decodable").mkdir(parents=True)
    (OUT / "refused").mkdir()
    pictures = decodable()
    for name, contents in pictures.items():
        (OUT / "decodable" / name).write_bytes(contents)
        image = Image.open(io.BytesIO(contents)).convert("RGB")
        head = struct.pack("<II", image.width, image.height)
        (OUT / "decodable" / f"{name}.rgb").write_bytes(head + image.tobytes())
    check_that_pillow_refuses_every_cut(pictures)
    (OUT / "turned").mkdir()
    for name, contents in turned():
        (OUT / "turned" / name).write_bytes(contents)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(contents))).convert("RGB")
        head = struct.pack("<II", image.width, image.height)
        (OUT / "turned" / f"{name}.rgb").write_bytes(head + image.tobytes())
    for name, contents in refused().items():
        (OUT / "refused" / name).write_bytes(contents)
    cases = []
    for name, contents in jpegs():
        pixels = Image.open(io.BytesIO(contents)).convert("RGB").tobytes()
        case = {"name": name, "jpeg": contents.hex(), "pixels": hashlib.sha256(pixels).hexdigest()}
        cases.append(json.dumps(case))
    (OUT / "jpegs.json").write_text("[\n" + ",\n".join(cases) + "\n]\n")
    cases = [json.dumps(case) for case in resizes()]
    (OUT / "resizes.json").write_text("[\n" + ",\n".join(cases) + "\n]\n")


if __name__ == "__main__":
    main()
