"""occfer: facial expressions under occlusion.

A readable implementation of Xi Yan (2022), fine-grained occluded facial expression recognition
based on contrastive learning: OCL (§2.2), FGW (§2.3) and LGDS (§2.4).

The names are those of ``__init__.pyi``. Each is imported when it is first asked for, so that a
worker that only aligns faces does not wait for what trains networks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
