"""Results for people and for other programs: tables, charts, pictures, pages, trackers."""
