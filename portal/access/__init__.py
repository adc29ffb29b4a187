"""Who may do what: roles, guards, tokens on requests, invitations."""
