"""The documentation site: pages for people, and how they are put together.

``python -m keras_nas.docs OUT`` builds the site with Sphinx into a folder. The pages
are Markdown in ``keras_nas/docs/pages`` and can be read there as well; the reference
and the layer coverage are made from the package itself.
"""

from keras_nas.docs.building import PAGES, build_site
from keras_nas.docs.reference import Concept, concepts, documented

__all__ = ["PAGES", "Concept", "build_site", "concepts", "documented"]
