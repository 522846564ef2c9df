"""What a user got wrong, told in one line."""


class InputError(ValueError):
    """Something given from outside cannot be used.

    The message is one line that names the thing, what was expected and what was found. The command line prints
    it and exits with status 2; anything else that is raised there is a defect of jaxcnn and keeps its traceback.
    """
