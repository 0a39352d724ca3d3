"""The pages: server-rendered HTML and small ES modules, which ask the public HTTP API for everything they show."""

from luthier.web import pages, static_files

ROUTERS = (static_files.router, pages.router)
"""What `server.app.create_app` serves beside the API."""
