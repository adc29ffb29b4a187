"""How people prove who they are: signing in, second factors, confirming it again."""
