"""Whether a written file is right: it is run, compared with torch, judged, and its operators are looked up."""
