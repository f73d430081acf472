"""Pictures that we draw ourselves, with their answers: data for tasks of which no pictures may be collected."""
