"""Where the text of luthier-nano comes from: Debian packages, what of them is read, and their licences."""

# ruff: noqa: E501 - a table
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package of bookworm; `files` are globs below its root, `limit` is in characters kept."""

    name: str
    licence: str
    reader: str
    files: tuple[str, ...]
    limit: int = 3_000_000
    skip: str = ""
    """Files whose path matches this regular expression are not read."""


_GPL2 = "GPL-2.0-or-later"
_DOC = "usr/share/doc"
_CAMPAIGNS = (
    "httt",
    "tsg",
    "did",
    "dm",
    "dw",
    "ei",
    "l",
    "low",
    "nr",
    "sof",
    "sota",
    "sotbe",
    "thot",
    "trow",
    "ttb",
    "utbs",
)

PACKAGES: tuple[Package, ...] = (
    Package("debian-handbook", "GPL-2.0-or-later OR CC-BY-SA-3.0", "html", (f"{_DOC}/debian-handbook/html/en-US/*.html",)),
    Package("debian-reference-en", _GPL2, "html", (f"{_DOC}/debian-reference/*.html", "usr/share/debian-reference/*.html")),
    Package("debian-faq", "Debian FAQ licence (copyleft, modification allowed)", "html", (f"{_DOC}/**/*.html",)),
    Package("debian-policy", _GPL2, "html", (f"{_DOC}/**/*.html",), 600_000, "upgrading"),
    Package("developers-reference", _GPL2, "html", ("usr/share/developers-reference/*.html",)),
    Package("maint-guide", _GPL2, "html", (f"{_DOC}/**/*.en.html", "usr/share/**/*.html")),
    Package("debian-kernel-handbook", _GPL2, "html", (f"{_DOC}/**/*.html",)),
    Package("debian-edu-doc-en", _GPL2, "html", (f"{_DOC}/**/*.html",)),
    Package("harden-doc", "GPL-2.0-only", "html", (f"{_DOC}/**/en-US/*.html",)),
    Package("live-manual-html", "GPL-3.0-or-later", "html", (f"{_DOC}/**/*.en.html",)),
    Package("aptitude-doc-en", _GPL2, "html", ("usr/share/**/*.html",)),
    Package("exim4-doc-html", _GPL2, "html", (f"{_DOC}/**/*.html",), 1_200_000),
    Package("postfix-doc", "IPL-1.0 OR EPL-2.0", "html", ("usr/share/**/*.html",), 800_000, r"\.\d\.html"),
    Package("mailman3-doc", "GPL-3.0-or-later", "html", (f"{_DOC}/**/*.html",), 500_000),
    Package("gnome-user-docs", "CC-BY-SA-3.0", "html", ("usr/share/help/C/**/*.page", "usr/share/help/C/**/*.xml")),
    Package("evolution-common", "CC-BY-SA-3.0", "html", ("usr/share/help/C/**/*.page",)),
    Package("gnumeric-doc", "GFDL-1.1-or-later", "html", ("usr/share/help/C/**/*.xml",)),
    Package("libreoffice-help-en-us", "MPL-2.0", "html", ("usr/share/libreoffice/help/en-US/text/**/*.html",), 2_600_000, "sbasic"),
    Package("gimp-help-en", "GFDL-1.2-or-later", "html", ("usr/share/gimp/2.0/help/en/**/*.html",), 2_600_000),
    Package("kicad-doc-en", "GPL-3.0-or-later OR CC-BY-3.0-or-later", "html", ("usr/share/doc/kicad/help/en/*.html",), 1_000_000),
    Package("python3.11-doc", "PSF-2.0", "html", (f"{_DOC}/python3.11/html/**/*.html",), 4_500_000, "genindex|changelog|/c-api/"),
    Package("python-django-doc", "BSD-3-Clause", "html", (f"{_DOC}/**/*.html",), 2_600_000, "releases|genindex|_modules"),
    Package("postgresql-doc-15", "PostgreSQL", "html", (f"{_DOC}/**/*.html",), 3_400_000, "release|features-"),
    Package("sqlite3-doc", "public domain", "html", (f"{_DOC}/sqlite3/*.html",), 2_000_000, "changes|releaselog"),
    Package("rust-doc", "MIT OR Apache-2.0", "html", (f"{_DOC}/rust-doc/html/book/**/*.html",), 1_600_000, "print|/first-edition/|/second-edition/|/2018-edition/"),
    Package("r-doc-html", _GPL2, "html", ("usr/share/R/doc/manual/*.html",), 1_000_000),
    Package("apache2-doc", "Apache-2.0", "html", (f"{_DOC}/apache2-doc/manual/en/**/*.html",), 1_500_000),
    Package("git-doc", "GPL-2.0-only", "html", (f"{_DOC}/git-doc/*.html", f"{_DOC}/git-doc/howto/*.html"), 1_800_000, "RelNotes"),
    Package("linux-doc-6.1", "GPL-2.0-only", "rst", tuple(
        f"{_DOC}/linux-doc-6.1/Documentation/{room}/**/*.rst.gz"
        for room in ("process", "doc-guide", "admin-guide", "core-api", "filesystems", "security", "locking", "mm", "dev-tools",
                     "scheduler", "trace", "driver-api", "power", "block", "RCU", "maintainer", "input", "virt", "networking")
    ), 4_500_000),
    Package("perl-doc", "GPL-1.0-or-later OR Artistic-1.0-Perl", "pod", ("usr/share/perl/*/pod/*.pod",), 2_400_000, "delta|perl(cn|jp|ko|tw|hist)|perltoc|perluniprops"),
    Package("crawl-common", _GPL2, "entries", ("usr/share/crawl/dat/descript/*.txt",), 1_500_000),
    Package("freeciv-data", _GPL2, "freeciv", ("usr/share/games/freeciv/helpdata.txt",), 500_000),
    *(
        Package(f"wesnoth-1.16-{name}", _GPL2, "script", ("usr/share/games/wesnoth/**/*.cfg",), 1_000_000)
        for name in _CAMPAIGNS
    ),
    Package("wordnet-base", "WordNet-3.0", "wordnet", ("usr/share/wordnet/data.*",), 3_600_000),
    Package("dict-gcide", "GPL-2.0-or-later", "gcide", ("usr/share/dictd/gcide.dict.dz",), 3_000_000),
    Package("dict-foldoc", "GFDL-1.2-or-later", "foldoc", ("usr/share/dictd/foldoc.dict.dz",), 1_200_000),
    Package("dict-jargon", "public domain", "foldoc", ("usr/share/dictd/jargon.dict.dz",), 900_000),
)  # fmt: skip

DICTIONARIES = ("wordnet", "gcide", "foldoc")
"""Readers whose text counts as dictionary in the mixture; all others are prose."""
