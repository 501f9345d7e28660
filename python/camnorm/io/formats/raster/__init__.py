"""Images of one frame: PNG and JPEG."""

from camnorm.io.base.registry import ImageFormat

PNG = ImageFormat("PNG", (".png",), f"{__name__}.png:PngSource", (b"\x89PNG\r\n\x1a\n",))
JPEG = ImageFormat("JPEG", (".jpg", ".jpeg"), f"{__name__}.jpeg:JpegSource", (b"\xff\xd8\xff",))
