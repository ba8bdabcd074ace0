"""Post-training quantization: one file for each method, one walk through the model for all of them."""

from simlaw.ptq.diagnosis import Diagnosis as Diagnosis
from simlaw.ptq.outliers import check_plantable as check_plantable
from simlaw.ptq.outliers import planted as planted
from simlaw.ptq.site import OnFormats as OnFormats
from simlaw.ptq.site import Site as Site
from simlaw.ptq.walk import Made as Made
from simlaw.ptq.walk import Numbers as Numbers
from simlaw.ptq.walk import arithmetic_of as arithmetic_of
from simlaw.ptq.walk import blind as blind
from simlaw.ptq.walk import examined as examined
from simlaw.ptq.walk import numbers_of as numbers_of
from simlaw.ptq.walk import quantized as quantized
from simlaw.ptq.walk import walk as walk
