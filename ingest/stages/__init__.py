"""One file a stage: what it reads and writes, and from proven factors to rows."""
