"""Where the text of luthier-nano comes from: Debian packages, what of them is read, and their licences.

Help pages for people above all. Reference manuals, kernel documents, old dictionaries and game scripts were read
once and are left out: a model of five million parameters learned fragments from them, not sentences.
"""

# ruff: noqa: E501 - a table
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package of bookworm; `files` are globs below its root, `limit` is in characters kept."""

    name: str
    licence: str
    files: tuple[str, ...]
    limit: int = 3_000_000
    skip: str = ""
    """Files whose path matches this regular expression are not read."""


_DOC = "usr/share/doc"
_MALLARD = ("usr/share/help/C/**/*.page",)
_DOCBOOK = ("usr/share/help/C/**/*.page", "usr/share/help/C/**/*.xml", "usr/share/help/C/**/*.docbook")
_GFDL = "GFDL-1.1-or-later"
_LICENCES = r"legal|licen[cs]e|gpl|gfdl|copying|appendix"

GNOME_HELP = (
    "gnome-user-docs", "evolution-common", "brasero-common", "cheese-common", "eog", "evince-common", "file-roller",
    "five-or-more", "four-in-a-row", "gedit-common", "gnome-calculator", "gnome-chess", "gnome-mahjongg", "gnome-mines",
    "gnome-nibbles", "gnome-robots", "gnome-sudoku", "gnome-system-monitor", "gnome-terminal-data", "gnome-tetravex",
    "gnote", "gthumb-data", "hitori", "iagno", "lightsoff", "orca", "quadrapassel", "seahorse", "shotwell-common",
    "swell-foop",
)  # fmt: skip
"""Help pages in the Mallard format, written by GNOME's documentation team in one plain style."""
_OTHER_LICENCES = {
    "brasero-common": "GFDL-1.3-or-later", "gedit-common": "GPL-2.0-or-later", "gnome-terminal-data": "GFDL-1.3-or-later",
    "gnote": "GFDL-1.1-or-later", "seahorse": "GFDL-1.1-or-later", "shotwell-common": "LGPL-2.1-or-later",
}  # fmt: skip
"""Of the packages in GNOME_HELP that are not under CC-BY-SA-3.0."""

KDE_HELP = (
    "akregator", "ark", "blinken", "bovo", "dolphin", "dragonplayer", "elisa", "granatier", "gwenview", "juk",
    "k3b-data", "kaddressbook", "kajongg", "kanagram", "kapman", "kate5-data", "katomic", "kblackbox", "kblocks",
    "kbounce", "kbreakout", "kbruch", "kcalc", "kdenlive-data", "kdf", "kdiamond", "kexi-data", "kfind", "kfloppy",
    "kfourinline", "kgoldrunner", "kgpg", "khangman", "kig", "kigo", "kile-doc", "kinfocenter", "kiriki", "kiten",
    "kjumpingcube", "klickety", "klines", "kmag", "kmahjongg", "kmail", "kmines", "kmousetool", "kmouth", "kmplot",
    "kmymoney-common", "knavalbattle", "knetwalk", "knights", "kollision", "konqueror", "konquest", "konsole",
    "korganizer", "kpat", "kphotoalbum", "kreversi", "kruler", "krusader", "kshisen", "ksirk", "ksnakeduel",
    "kspaceduel", "ksquares", "kstars-data", "ksudoku", "kteatime", "ktimer", "ktouch-data", "kturtle", "kubrick",
    "kwalletmanager", "kwordquiz", "marble-data", "okular", "picmi", "plasma-desktop-data", "skrooge-common",
    "step", "systemsettings",
)  # fmt: skip
"""Manuals of KDE's programs and games in DocBook."""

PACKAGES: tuple[Package, ...] = (
    *(Package(name, _OTHER_LICENCES.get(name, "CC-BY-SA-3.0"), _MALLARD, skip=_LICENCES) for name in GNOME_HELP),
    Package("aisleriot", _GFDL, _DOCBOOK, skip=_LICENCES),
    Package("tali", _GFDL, _DOCBOOK, skip=_LICENCES),
    Package("gnome-klotski", _GFDL, _DOCBOOK, skip=_LICENCES),
    Package("mate-user-guide", _GFDL, _DOCBOOK, skip=_LICENCES),
    Package("gnumeric-doc", _GFDL, _DOCBOOK, skip=_LICENCES),
    Package("gnucash-docs", _GFDL, (f"{_DOC}/gnucash-docs/gnucash-guide-en/*.html", f"{_DOC}/gnucash-docs/gnucash-help-en/*.html"), skip=_LICENCES),
    *(Package(name, "GFDL-1.2-or-later", (f"{_DOC}/HTML/en/**/*.docbook",), skip=_LICENCES) for name in KDE_HELP),
    Package("libreoffice-help-en-us", "MPL-2.0", ("usr/share/libreoffice/help/en-US/text/**/*.html",), skip="sbasic"),
    Package("gimp-help-en", "GFDL-1.2-or-later", ("usr/share/gimp/2.0/help/en/**/*.html",), skip="fdl|bibliography|glossary"),
    Package("debian-handbook", "GPL-2.0-or-later OR CC-BY-SA-3.0", (f"{_DOC}/debian-handbook/html/en-US/*.html",)),
    Package("debian-faq", "Debian FAQ licence (copyleft, modification allowed)", (f"{_DOC}/**/*.html",), skip=r"\.(de|fr|it|ja|nl|ru|zh-cn)\.html"),
    Package("debian-reference-en", "GPL-2.0-or-later", (f"{_DOC}/debian-reference/*.html", "usr/share/debian-reference/*.html")),
    Package("debian-edu-doc-en", "GPL-2.0-or-later", (f"{_DOC}/**/*.html",)),
    Package("installation-guide-amd64", "GPL-2.0-only", (f"{_DOC}/installation-guide-amd64/en/*.html",), skip="apf|gpl"),
    Package("python3.11-doc", "PSF-2.0", tuple(f"{_DOC}/python3.11/html/{room}/*.html" for room in ("tutorial", "faq"))),
)  # fmt: skip

WORDNET = Package("wordnet-base", "WordNet-3.0", ("usr/share/wordnet/data.*",), 2_500_000)
