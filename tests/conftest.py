"""Here so that tests in every folder can import the modules that lie beside it."""

from opea_core.policy import SECOND
from opea_core.transport import deadline

deadline._AT_ONCE = (
    10 * SECOND
)  # on a busy machine, what breaks at once is told late; the tests of the rule set their own
