"""Pictures of a report's figures: inline SVG, each with the tables it is drawn from. One module a subject."""
