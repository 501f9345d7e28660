"""What happens to a frame between its file and the statistics: gain references and defects."""

from camnorm.apriori.fit import check_orientation, orient
from camnorm.apriori.steps import check_references, prepare, reference_images
from camnorm.io.base.registry import add_step

__all__ = ["check_orientation", "check_references", "orient", "reference_images"]

add_step(prepare)
