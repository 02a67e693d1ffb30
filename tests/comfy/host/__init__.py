"""What the tests against a real ComfyUI stand on: ComfyUI in this process, as a server, and in a browser."""
