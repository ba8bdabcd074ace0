"""simlaw: when does quantizing a large language model lose to training a smaller one?"""

from simlaw.version import __version__ as __version__
