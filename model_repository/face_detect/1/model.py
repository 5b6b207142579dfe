"""IMAGE: bytes[1], any photo -> BOXES: float32[n, 5], LANDMARKS: float32[n, 5, 2], best score first."""

from preprocess import image, mtcnn, photo
from preprocess.engines import cores
from preprocess.serving import Arrays, Config, PythonModel, Request


class TritonPythonModel(PythonModel):
    def load(self, config: Config) -> None:
        self.defaults = config.parameters
        self.detector = mtcnn.load(config.directory, cores())  # all for each process: a photo may come alone

    def infer(self, request: Request) -> Arrays:
        options = photo.Options.read(self.defaults, request.parameters)
        picture = image.decode(request.inputs["IMAGE"][0], options.apply_exif)
        faces = mtcnn.detect(picture, self.detector, options.mtcnn)
        return {"BOXES": faces.boxes, "LANDMARKS": faces.landmarks}
