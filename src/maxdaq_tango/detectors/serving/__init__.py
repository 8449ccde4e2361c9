"""Programs beside the hardware, or in its place: how they listen, answer, say that they are ready, and end."""
