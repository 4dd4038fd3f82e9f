"""What a server shows of itself: `/metrics`, the live page at `/`, and `/live.json` behind its dashboard.

Everything is counted in the HTTP process, from the one message a step that it gets anyway. The step loop pays nothing.
"""
