"""Give agents the service as tools of the Model Context Protocol; `mcp_server.py` starts them."""
