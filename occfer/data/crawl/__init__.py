"""Pictures from the internet, collected politely and without trust in what comes (§3.1).

``keywords`` says what to search for, ``engines`` where; ``addresses`` and ``fetch`` guard each
request, ``politeness`` spaces them, ``manifest`` remembers them, ``crawler`` does the work.

``robots.txt`` is not read: no links are followed, and each picture is asked for by itself, at the
address that a search engine handed out. ``X-Robots-Tag`` with ``noai`` or ``noimageai`` is heeded.
"""

from occfer.data.crawl.crawler import Summary, crawl
from occfer.data.crawl.engines import ENGINES, Baidu, Bing, Engine, Openverse
from occfer.data.crawl.fetch import Limits
from occfer.data.crawl.keywords import Language, keywords, read_keywords
from occfer.data.crawl.manifest import Manifest
from occfer.data.crawl.politeness import Pace

__all__ = [
    "ENGINES",
    "Baidu",
    "Bing",
    "Engine",
    "Language",
    "Limits",
    "Manifest",
    "Openverse",
    "Pace",
    "Summary",
    "crawl",
    "keywords",
    "read_keywords",
]
