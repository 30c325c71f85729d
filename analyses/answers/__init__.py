"""A question in SQL, and its answer in a form to read or to keep."""
