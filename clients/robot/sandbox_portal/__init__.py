"""A make-believe carrier web site: the form of a real portal, faults on demand, and an exact count of its parcels.

docs/sandbox_portal.md says how to use it.  `server` runs it; nothing here knows the robots or the API.
"""
