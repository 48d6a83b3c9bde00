"""Pictures of a page, as inline SVG: each with words for those who do not see it."""
