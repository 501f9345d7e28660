"""CBF and miniCBF files of pixel-array detectors."""

from camnorm.io.base.registry import ImageFormat

FORMAT = ImageFormat("CBF", (".cbf",), f"{__name__}.reader:CbfSource", (b"###CBF",), extra="fabio")
